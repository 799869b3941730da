"""Files and runtimes that would use the network without being asked to."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from utils.errors import UserError
from utils.inference.video import VideoReader

HLS = """#EXTM3U
#EXT-X-TARGETDURATION:10
#EXTINF:10,
{url}/part.ts
#EXT-X-ENDLIST
"""
CONCAT = """ffconcat version 1.0
file {url}/part.mp4
"""
DASH = """<?xml version="1.0"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT9S"
 profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period><AdaptationSet mimeType="video/mp4">
<Representation id="1" bandwidth="1000" width="64" height="64" codecs="avc1.42c00d">
<BaseURL>{url}/part.mp4</BaseURL></Representation></AdaptationSet></Period></MPD>
"""


@pytest.fixture
def server():
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.requests.append(self.path)
            self.send_error(404)

        def log_message(self, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.requests = []
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("suffix", [".mp4", ".ts", ".mkv"])
@pytest.mark.parametrize("playlist", [HLS, CONCAT, DASH], ids=["hls", "concat", "dash"])
def test_playlist_that_is_named_like_a_video_is_not_followed(server, tmp_path, playlist, suffix):
    path = tmp_path / f"video{suffix}"
    path.write_text(playlist.format(url=f"http://127.0.0.1:{server.server_port}"))
    with pytest.raises(UserError, match="cannot open video"):
        VideoReader(str(path))
    assert server.requests == []


def test_stream_that_is_asked_for_is_requested(server):
    """So that the test above would notice a request."""
    with pytest.raises(UserError, match="cannot open video"):
        VideoReader(f"http://127.0.0.1:{server.server_port}/stream.mp4")
    assert server.requests == ["/stream.mp4"]
