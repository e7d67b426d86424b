"""Archives that no one should open, made from one that is good."""

import hashlib
import io
import json
import pickle
import struct
import zipfile
from dataclasses import replace
from pathlib import Path

import torch

from boxwright.runtime import ClassEntry, ModelSpec
from boxwright.runtime.bundle import CHECKSUMS, INDEX_TO_NAME, MANIFEST, SPEC, WEIGHTS, index_to_name

KINDS = [SPEC, WEIGHTS, MANIFEST, INDEX_TO_NAME, "handler.py", "model.py", "boxwright_runtime/predictor.py"]
# Where a field lies in the local header and in the directory's record, and its format.
_FIELDS = {
    "flags": (6, 8, "<H"),
    "method": (8, 10, "<H"),
    "crc": (14, 16, "<L"),
    "packed": (18, 20, "<L"),
    "size": (22, 24, "<L"),
    "attributes": (None, 38, "<L"),
    "offset": (None, 42, "<L"),
}


def members_of(mar):
    with zipfile.ZipFile(mar) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def listed(members):
    """The members, with checksums that fit them."""
    own = {name: content for name, content in members.items() if name != CHECKSUMS}
    lines = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(own.items())]
    return {**own, CHECKSUMS: "".join(lines).encode()}


def packed(members, deflated=()):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            entry = zipfile.ZipInfo(name)
            entry.compress_type = zipfile.ZIP_DEFLATED if name in deflated else zipfile.ZIP_STORED
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, content)
    return buffer.getvalue()


def patched(content, name, local=True, directory=True, **changes):
    """A zip with fields of one member's headers changed."""
    content = bytearray(content)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        offset, record = archive.getinfo(name).header_offset, archive.start_dir
    while content[record + 46 : record + 46 + struct.unpack_from("<H", content, record + 28)[0]] != name.encode():
        record += 46 + struct.unpack_from("<H", content, record + 28)[0]  # no extra fields, no comments
    for field, value in changes.items():
        in_local, in_record, form = _FIELDS[field]
        if local and in_local is not None:
            struct.pack_into(form, content, offset + in_local, value)
        if directory:
            struct.pack_into(form, content, record + in_record, value)
    return bytes(content)


class Evil:
    """Unpickled carelessly, it makes a file."""

    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return (open, (str(self.canary), "w"))


def pickled_code(canary, modern=False):
    buffer = io.BytesIO()
    torch.save({"weight": Evil(canary)}, buffer, pickle_module=pickle, pickle_protocol=4 if modern else 2)
    return buffer.getvalue()


def _legacy(canary):
    """PyTorch's older format, which it reads wherever a file does not begin as a zip."""
    buffer = io.BytesIO()
    torch.save({"weight": Evil(canary)}, buffer, pickle_module=pickle, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def _classes(members, names):
    """All documents agree on these classes."""
    spec = ModelSpec.from_json(members[SPEC])
    spec = replace(spec, classes=tuple(ClassEntry(number, name) for number, name in enumerate(names, start=1)))
    label_map = json.dumps(index_to_name(spec)).encode()
    return packed(listed({**members, SPEC: spec.to_json().encode(), INDEX_TO_NAME: label_map}))


def _document(members, name, **changes):
    return json.dumps({**json.loads(members[name]), **changes}).encode()


def _spec(members, **changes):
    return packed(listed({**members, SPEC: _document(members, SPEC, **changes)}))


def _replaced(members, name, old, new):
    assert old in members[name]
    return packed(listed({**members, name: members[name].replace(old, new)}))


def _manifest(members, **changes):
    manifest = json.loads(members[MANIFEST])
    manifest["model"].update(changes)
    return packed(listed({**members, MANIFEST: json.dumps(manifest).encode()}))


def _added(members, name, **changes):
    content = packed(listed({**members, name: b"x"}))
    return patched(content, name, **changes) if changes else content


def _bomb_in_all(members):
    """Five members that announce 3 GiB each, none of them above the ratio."""
    blocks = {f"bomb{index}": b"\0" * 4_000_000 for index in range(5)}
    content = packed(listed({**members, **blocks}))
    for name in blocks:
        content = patched(content, name, method=8, size=3 * 1024**3)
    return content


def _quoted(members):
    """Two members of one stretch of the file, as in a bomb of overlapping files."""
    content = packed(listed({**members, "a": b"same", "b": b"same"}))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return patched(content, "b", local=False, offset=archive.getinfo("a").header_offset)


def _nested(members):
    """A member whose header lies in the data of another."""
    whole = packed({"b": b"inner"})
    content = packed(listed({**members, "a": whole[: 30 + len("b") + len(b"inner")], "b": b"inner"}))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        start = archive.getinfo("a").header_offset + 30 + len("a")
    return patched(content, "b", local=False, offset=start)


def _gap(members):
    """Bytes between the members and the directory that belong to none."""
    content = packed(members)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        directory = archive.start_dir
    end = bytearray(content[directory:])
    struct.pack_into("<L", end, len(end) - 6, directory + 4)
    return content[:directory] + b"gap!" + bytes(end)


def _nul(members):
    return packed(listed({**members, "nulZx": b"x"})).replace(b"nulZx", b"nul\0x")


def _overlong(members):
    content = packed(listed({**members, "long": b"a" * 100}), deflated=["long"])
    return patched(content, "long", size=50)


def _bz2(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_BZIP2) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _without(members, *names):
    return {name: content for name, content in members.items() if name not in names}


def _line(digest, name):
    return digest + b"  " + name.encode() + b"\n"


def _deep(depth):
    return b"[" * depth + b"]" * depth


def _code(canary):
    return f"open({str(canary)!r}, 'w')\n".encode()


def _altered(name):
    return lambda m, c: packed({**m, name: m[name] + (_code(c) if name.endswith(".py") else b" ")})


NAMES = {
    "path traversal": "../evil.py",
    "path traversal inside": "a/../../evil",
    "absolute path": "/tmp/evil",
    "drive": "C:/evil",
    "backslash": "a\\..\\evil",
    "dot": "./evil",
    "double slash": "a//evil",
    "folder": "folder/",
    "escape sequence": "x\x1b[2J",
    "newline": "x\nError: y",
    "trailing dot": "handler.py.",
    "other case": "HANDLER.py",
    "in a file": "handler.py/inner",
    "too long": "x" * 300,
}

HOSTILE = {
    **{f"name: {what}": lambda m, c, name=name: _added(m, name) for what, name in NAMES.items()},
    "name: other normal form": lambda m, c: packed(listed({**m, "\N{LATIN SMALL LIGATURE FI}le": b"x", "file": b"x"})),
    "name: NUL": lambda m, c: _nul(m),
    "symlink": lambda m, c: _added(m, "link", attributes=0o120777 << 16),
    "named pipe": lambda m, c: _added(m, "pipe", attributes=0o010644 << 16),
    "setuid": lambda m, c: _added(m, "setuid", attributes=0o104755 << 16),
    "folder by attribute": lambda m, c: _added(m, "folder", attributes=0x10),
    "encrypted": lambda m, c: _added(m, "secret", flags=1),
    "data descriptor": lambda m, c: _added(m, "later", flags=8),
    "other compression": lambda m, c: _bz2(m),
    "bomb by ratio": lambda m, c: packed(listed({**m, "bomb": b"\0" * 20_000_000}), deflated=["bomb"]),
    "bomb in all": lambda m, c: _bomb_in_all(m),
    "overlapping": lambda m, c: _quoted(m),
    "one in another": lambda m, c: _nested(m),
    "gap": lambda m, c: _gap(m),
    "something before": lambda m, c: b"MZ" + packed(m),
    "something after": lambda m, c: packed(m) + b"x",
    "comment": lambda m, c: packed(m)[:-2] + b"\x01\0x",
    "overlong": lambda m, c: _overlong(m),
    "wrong CRC": lambda m, c: patched(packed(m), "handler.py", crc=1),
    "two sizes": lambda m, c: patched(packed(m), "handler.py", directory=False, size=1),
    "two names": lambda m, c: packed(listed({**m, "innocent": b""})).replace(b"innocent", b"guilty..", 1),
    "one name twice": lambda m, c: packed(listed({**m, "handleX.py": m["handler.py"]})).replace(b"handleX", b"handler"),
    "pickle with code": lambda m, c: packed(listed({**m, WEIGHTS: pickled_code(c)})),
    "newer pickle with code": lambda m, c: packed(listed({**m, WEIGHTS: pickled_code(c, modern=True)})),
    "bare pickle with code": lambda m, c: packed(listed({**m, WEIGHTS: pickle.dumps(Evil(c))})),
    "pickle with code before a zip": lambda m, c: packed(listed({**m, WEIGHTS: _legacy(c) + m[WEIGHTS]})),
    "no classes": lambda m, c: _classes(m, []),
    "one class twice": lambda m, c: _classes(m, ["fish", "fish"]),
    "class score": lambda m, c: _classes(m, ["fish", "score"]),
    "unlisted member": lambda m, c: packed({**m, "evil.py": _code(c)}),
    "listed, not there": lambda m, c: packed(_without(listed({**m, "x": b""}), "x")),
    "checksums malformed": lambda m, c: packed({**m, CHECKSUMS: b"no checksums\n"}),
    "checksums of themselves": lambda m, c: packed(
        {**m, CHECKSUMS: m[CHECKSUMS] + b"0" * 64 + b"  " + CHECKSUMS.encode()}
    ),
    "not a zip": lambda m, c: b"no zip at all, but long enough to be one",
    "empty": lambda m, c: b"",
    "an empty zip": lambda m, c: packed({}),
    "a zip of something": lambda m, c: packed({"a.txt": b"hello"}),
    "another model in the manifest": lambda m, c: _manifest(m, modelName="other"),
    "other weights in the manifest": lambda m, c: _manifest(m, serializedFile="other.pth"),
    "version that is none": lambda m, c: _manifest(m, modelVersion="../1"),
    "manifest of nothing": lambda m, c: packed(listed({**m, MANIFEST: b"[]"})),
    "other classes in the map": lambda m, c: _replaced(m, INDEX_TO_NAME, b"circle", b"square"),
    "other classes than hashed": lambda m, c: _replaced(m, SPEC, b'"circle"', b'"orange"'),
    "deep JSON": lambda m, c: packed(listed({**m, SPEC: b"[" * 100_000})),
    "deep JSON in a value": lambda m, c: _replaced(
        m, SPEC, b'"network": {}', b'"network": {"a":' + b"[" * 400 + b"]" * 400 + b"}"
    ),
    "huge integer": lambda m, c: _replaced(m, SPEC, b'"height": 192', b'"height": 1' + b"0" * 5000),
    "huge canvas": lambda m, c: _replaced(m, SPEC, b'"height": 192', b'"height": 3200000'),
    "threshold that is no number": lambda m, c: _spec(m, operating_point={"threshold": float("nan")}),
    "infinite mean": lambda m, c: _replaced(m, SPEC, b"0.485", b"1e999"),
    "standard deviation of 0": lambda m, c: _replaced(m, SPEC, b"0.229", b"0.0"),
    "one key twice": lambda m, c: _replaced(m, SPEC, b'"format": 1', b'"format": 1, "format": 1'),
    "half a character": lambda m, c: _replaced(m, SPEC, b'"circle"', b'"\\ud800"'),
    "not UTF-8": lambda m, c: _replaced(m, SPEC, b'"circle"', b'"\xff"'),
    "objective of the wrong type": lambda m, c: _spec(m, operating_point={"objective": 7}),
    "split of the wrong type": lambda m, c: _spec(m, operating_point={"split": []}),
    "figures of the wrong type": lambda m, c: _spec(m, measured={"valid": 7}),
    "epsilon that is none": lambda m, c: _spec(m, network={"norm_eps": "x"}),
    **{f"altered: {name}": _altered(name) for name in KINDS},
    **{f"missing: {one}": lambda m, c, one=one: packed(_without(m, one)) for one in [*KINDS, CHECKSUMS]},
    **{
        f"missing, not listed: {one}": lambda m, c, one=one: packed(listed(_without(m, one)))
        for one in (SPEC, WEIGHTS, MANIFEST, INDEX_TO_NAME)
    },
    **{
        f"truncated at {share}": lambda m, c, share=share: packed(m)[: int(len(packed(m)) * share)]
        for share in (0.0001, 0.1, 0.3, 0.5, 0.9, 0.99, 0.999, 0.9999)
    },
}
"""Content of a hostile archive, by what is wrong with it: functions of a good one's members and of the file that code
of it would make."""

REASONS = {
    "name: ": "unsafe|have one name|lies in a file",
    "symlink": "a link",
    "named pipe": "special file",
    "setuid": "special file",
    "folder by attribute": "a folder",
    "encrypted": "'secret' is encrypted",
    "data descriptor": "'later' is not plainly stored",
    "other compression": "not plainly stored",
    "bomb by ratio": "'bomb' is unsafe: it unpacks to 100 times",
    "bomb in all": "unpacks to more than",
    "overlapping": "'b' overlaps",
    "one in another": "'b' overlaps",
    "gap": "bytes lie before it that belong to none",
    "something before": "not a plain zip",
    "overlong": "'long' is longer than it announces",
    "wrong CRC": r"'handler\.py' is not what it announces",
    "two sizes": r"'handler\.py' has two headers",
    "two names": "'innocent' has two headers",
    "one name twice": "have one name",
    "pickle with code before a zip": "not a plain state dict",
    "pickle with code": "ask for 'io open'",
    "newer pickle with code": "ask for 'STACK_GLOBAL'",
    "bare pickle with code": "not a plain state dict",
    "no classes": "names no classes",
    "one class twice": "'fish' more than once",
    "class score": "'score', which is a key of every answer",
    "unlisted member": r"'evil\.py' is not listed",
    "listed, not there": "'x' is missing",
    "checksums": "SHA256SUMS is malformed",
    "another model": "name different models",
    "other weights": "name different models",
    "other classes in the map": "name different classes",
    "other classes than hashed": "do not match their recorded hash",
    "deep JSON": "recursion|nested deeper",
    "huge integer": "5001 digits",
    "huge canvas": "3200000 x 192",
    "threshold": "NaN is not a finite number",
    "infinite": "1e999 is not a finite number",
    "one key twice": "a key occurs twice",
    "altered": "does not match its SHA-256",
    "missing": "is missing|there is no",
    "truncated": "truncated",
}
"""What the error says, by how the case begins."""


def reason(what):
    """What is to be found in the error of a case."""
    fitting = [text for start, text in REASONS.items() if what.startswith(start)]
    return fitting[0] if fitting else "hostile"


def small_members(mar):
    """Of an archive that is quickly read: its network is too small for its architecture."""
    buffer = io.BytesIO()
    torch.save({"weight": torch.arange(3.0)}, buffer)
    return listed({**members_of(mar), WEIGHTS: buffer.getvalue()})


def snapshot(folder: Path):
    """Everything in a folder: names, and what the files hold."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in sorted(folder.rglob("*"))
    }
