"""The page for people: plain files without a build step, which load nothing from other hosts.

`shared` is in every page, `service` only in that of `serve.py`, and `browser` only in a folder of
`export.py --format web`. Both have a `detector.js`, which makes the detections. `views` has the
content of the HTML files, which `utils.page.views` puts into `frame.html`.
"""
