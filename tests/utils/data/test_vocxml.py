import os

import pytest

from utils.data.vocxml import class_name, parse_xml
from utils.errors import UserError


@pytest.mark.parametrize(
    ("encoding", "name"),
    [
        ("utf-8", "浣熊"),
        ("utf-8-sig", "浣熊"),
        ("utf-16", "浣熊"),
        ("utf8", "浣熊"),  # as ElementTree writes it
        ("UTF_8", "浣熊"),
        ("gb2312", "浣熊"),
        ("gbk", "浣熊"),
        ("shift_jis", "狸"),
        ("euc-kr", "너구리"),
        ("windows-1252", "Waschbär"),
    ],
)
def test_the_declared_encoding_is_used(tmp_path, encoding, name):
    declared = encoding.removesuffix("-sig")
    text = (
        f"<?xml version='1.0' encoding='{declared}'?>\n<annotation><name>{name}</name></annotation>"
    )
    path = tmp_path / "x.xml"
    path.write_bytes(text.encode(encoding))
    assert parse_xml(path).findtext("name") == name


@pytest.mark.parametrize("declared", ["utf8", "utf-8", "gbk"])
def test_a_byte_order_mark_decides_the_encoding(tmp_path, declared):
    path = tmp_path / "x.xml"
    text = f"<?xml version='1.0' encoding='{declared}'?><annotation><name>浣熊</name></annotation>"
    path.write_bytes(text.encode("utf-8-sig"))
    assert parse_xml(path).findtext("name") == "浣熊"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no xml",
        b"<a><b></a>",
        b"<annotations/>",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"<?xml version='1.0' encoding='klingon'?><a/>",
        b"<?xml version='1.0' encoding='gbk'?><a>\xff\xff</a>",
        b"<!DOCTYPE a [<!ENTITY b 'bbbb'>]><a>&b;</a>",
    ],
)
def test_invalid_xml_is_an_error_that_names_the_file(tmp_path, data):
    path = tmp_path / "bad.xml"
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"bad\.xml"):
        parse_xml(path)


@pytest.mark.parametrize(
    "text",
    [
        '<annotation xmlns="http://example.org/voc"><object><name>cat</name></object></annotation>',
        '<v:annotation xmlns:v="urn:v"><v:object><v:name>cat</v:name></v:object></v:annotation>',
    ],
)
def test_namespaces_are_ignored(tmp_path, text):
    path = tmp_path / "x.xml"
    path.write_text(text)
    assert [class_name(node) for node in parse_xml(path).iterfind("object")] == ["cat"]


def test_a_pipe_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.xml")
    with pytest.raises(UserError, match=r"pipe\.xml: it is a named pipe"):
        parse_xml(tmp_path / "pipe.xml")
