"""Finds constructs in source code that run code from data, use a shell, or use the network."""

import ast

MODULES = {
    **dict.fromkeys(
        ("pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle"), "pickle"
    ),
    **dict.fromkeys(("subprocess", "pty", "ctypes", "code"), "process"),
    **dict.fromkeys(("tarfile", "zipfile"), "archive"),
    **dict.fromkeys(("xml.sax", "xml.dom", "xml.etree", "lxml"), "XML"),
    **dict.fromkeys(
        ("socket", "socketserver", "ssl", "http", "urllib.request", "urllib3", "requests"),
        "network",
    ),
    **dict.fromkeys(
        ("httpx", "aiohttp", "ftplib", "smtplib", "webbrowser", "xmlrpc", "huggingface_hub"),
        "network",
    ),
}
# Names that are used, not only imported, of modules that are otherwise harmless.
CALLS = {
    **dict.fromkeys(("eval", "exec", "compile", "__import__", "breakpoint"), "code"),
    **dict.fromkeys(("os.system", "os.popen", "os.startfile"), "shell"),
    **dict.fromkeys(("tempfile.mktemp", "tempfile.tempnam"), "temporary file"),
    **dict.fromkeys(("yaml.unsafe_load", "yaml.full_load", "yaml.load_all"), "YAML"),
    **dict.fromkeys(("shutil.unpack_archive",), "archive"),
    **dict.fromkeys(
        ("keras.models.load_model", "keras.saving.load_model", "tf.keras.models.load_model"),
        "Keras model",
    ),
    **dict.fromkeys(("keras.config.enable_unsafe_deserialization",), "Keras model"),
    **dict.fromkeys(("keras.utils.get_file", "tf.keras.utils.get_file"), "network"),
}
ANY_OBJECT = {"extractall": "archive", "unsafe_load": "YAML"}
# Names in modules that only build or name XML, and parse nothing.
XML_WITHOUT_PARSER = {
    "xml.etree.ElementTree": {"Element", "ElementTree", "ParseError", "SubElement", "indent"},
    "xml.sax.saxutils": {"escape", "quoteattr"},
}
ARGUMENTS = {
    "allow_pickle": (True, "pickle"),
    "safe_mode": (False, "Keras model"),
    "shell": (True, "shell"),
    "trust_remote_code": (True, "code"),
    "verify": (False, "network"),
    "weights_only": (False, "pickle"),
}
# Calls that are safe only with an argument.
REQUIRED = {
    "np.load": ("allow_pickle", ("False",), "pickle"),
    "torch.load": ("weights_only", ("True",), "pickle"),
    "yaml.load": ("Loader", ("yaml.BaseLoader", "yaml.SafeLoader"), "YAML"),
}


def find_forbidden(source):
    """Returns the kinds of forbidden constructs in a module, each with the line as code."""
    return {
        (kind, ast.unparse(node))
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom | ast.Call)
        for kind in _kinds(node)
        if kind
    }


def _kinds(node):
    if isinstance(node, ast.Import):
        yield from (_kind_of_module(alias.name) for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        names = {alias.name for alias in node.names}
        for name in names - XML_WITHOUT_PARSER.get(node.module, set()):
            full = f"{node.module}.{name}"
            yield _kind_of_module(full) or CALLS.get(full)
    elif isinstance(node, ast.Call):
        name = ast.unparse(node.func)
        yield CALLS.get(name) or ANY_OBJECT.get(name.rpartition(".")[2])
        arguments = {each.arg: ast.unparse(each.value) for each in node.keywords}
        for argument, (value, kind) in ARGUMENTS.items():
            if arguments.get(argument) == str(value):
                yield kind
        if name in REQUIRED:
            argument, values, kind = REQUIRED[name]
            if arguments.get(argument) not in values:
                yield kind


def _kind_of_module(name):
    parts = name.split(".")
    packages = [".".join(parts[: end + 1]) for end in range(len(parts))]
    return next((MODULES[each] for each in packages if each in MODULES), None)
