"""The requests that are sent to TorchServe and to boxwright, in this order; each may rest on what those before it did.

Served from the start: ``tiny`` (1.0). In the store lie also two versions of ``pair``, and files that are no archives.
``ENVELOPED`` are for servers of their own: TorchServe has KServe's first protocol only where its settings say so.
"""

import base64
import gzip
import json

from support.differential import Call

FORM = "multipart/form-data; boundary=edge"


def _part(name: str, content: bytes, file: str | None = None, kind: str = "image/jpeg") -> bytes:
    named = f'; filename="{file}"\r\nContent-Type: {kind}' if file else ""
    return f'--edge\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'.encode() + content + b"\r\n"


def bodies(picture: bytes, odd: dict[str, bytes]) -> dict[str, tuple[str, bytes]]:
    """Content type and bytes of each body by its name in the table.

    Args:
        picture: a JPEG in which the model finds something.
        odd: further pictures, by file name.
    """
    text = base64.b64encode(picture)
    end = b"--edge--\r\n"
    instance = {"instances": [{"b64": text.decode()}]}
    twice = {"instances": [{"b64": text.decode()}] * 2}
    return {
        "picture": ("", picture),
        "typed": ("image/jpeg", picture),
        "octets": ("application/octet-stream", picture),
        "nothing": ("", b""),
        "noise": ("", b"this is no picture"),
        "zeros": ("", bytes(64)),
        "half": ("", picture[: len(picture) // 2]),
        "gif": ("image/gif", b"GIF89a" + bytes(64)),
        "svg": ("image/svg+xml", b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'),
        "base64": ("text/plain", text),
        "base64 wrapped": ("text/plain", b"\n".join(text[at : at + 76] for at in range(0, len(text), 76))),
        "words": ("text/plain", b"a cat on a mat"),
        "json picture": ("application/json", json.dumps({"data": text.decode()}).encode()),
        "json body": ("application/json", json.dumps({"body": text.decode()}).encode()),
        "json text": ("application/json", json.dumps(text.decode()).encode()),
        "json list": ("application/json", json.dumps([text.decode()]).encode()),
        "json empty": ("application/json", b"{}"),
        "json null": ("application/json", b"null"),
        "json broken": ("application/json", b'{"data": '),
        "gzip": ("", gzip.compress(picture, mtime=0)),
        "urlencoded": ("application/x-www-form-urlencoded", picture),
        "fields": ("application/x-www-form-urlencoded", b"a=b&c=d"),
        "form": (FORM, _part("data", picture, "dog.jpg") + end),
        "form body": (FORM, _part("body", picture, "dog.jpg") + end),
        "form image": (FORM, _part("image", picture, "dog.jpg") + end),
        "form file": (FORM, _part("file", picture, "dog.jpg", "application/octet-stream") + end),
        "form no file name": (FORM, _part("data", picture) + end),
        "form text": (FORM, _part("data", b"a cat on a mat") + end),
        "form noise": (FORM, _part("data", b"this is no picture", "dog.jpg") + end),
        "form two": (FORM, _part("data", picture, "one.jpg") + _part("other", picture, "two.jpg") + end),
        "form note": (FORM, _part("data", picture, "one.jpg") + _part("note", b"hello") + end),
        "form empty": (FORM, end),
        "form unended": (FORM, _part("data", picture, "dog.jpg")),
        "form no boundary": ("multipart/form-data", _part("data", picture, "dog.jpg") + end),
        "large": ("", b"x" * 3_000_000),
        "v1": ("application/json", json.dumps(instance).encode()),
        "v1 untyped": ("", json.dumps(instance).encode()),
        "v1 two": ("application/json", json.dumps(twice).encode()),
        "v1 none": ("application/json", b'{"instances": []}'),
        "v1 other": ("application/json", b'{"pictures": []}'),
        "v1 noise": ("application/json", json.dumps({"instances": [{"b64": "bm8gcGljdHVyZQ=="}]}).encode()),
        "register pair 1": ("application/json", b'{"url": "pair-1.mar"}'),
        "register nothing": ("application/json", b"{}"),
        "register words": ("application/json", b"pair-1.mar"),
        **{name: ("", content) for name, content in odd.items()},
    }


def _inference(name: str, method: str, target: str, body: str = "", **more: object) -> Call:
    return Call(name, "inference", method, target, body, **more)


def _manage(name: str, method: str, target: str, body: str = "", **more: object) -> Call:
    return Call(name, "management", method, target, body, **more)


_ODD = (
    "alpha.png", "cmyk.jpg", "grey.jpg", "grey16.png", "palette.png", "plain.bmp", "plain.jpg", "plain.png",
    "plain.webp", "rotated.jpg",
)  # fmt: skip
_ANY = ("GET", "POST", "PUT", "PATCH", "DELETE")
_OTHER = ("HEAD", "OPTIONS", "TRACE", "BREW")
_FORMS = (
    "form", "form body", "form image", "form file", "form no file name", "form text", "form noise", "form two",
    "form note", "form empty", "form unended", "form no boundary",
)  # fmt: skip
_BODIES = (
    "typed", "octets", "nothing", "noise", "zeros", "half", "gif", "svg", "base64", "base64 wrapped", "words",
    "json picture", "json body", "json text", "json list", "json empty", "json null", "json broken", "gzip",
    "urlencoded", "fields", "large",
)  # fmt: skip

CALLS: tuple[Call, ...] = (
    # health
    *(_inference(f"ping {method}", method, "/ping") for method in (*_ANY, *_OTHER)),
    _inference("ping slash", "GET", "/ping/"),
    _inference("ping two slashes", "GET", "/ping//"),
    _inference("ping query", "GET", "/ping?x=1"),
    _inference("ping below", "GET", "/ping/x"),
    _inference("ping capitals", "GET", "/PING"),
    _inference("ping own id", "GET", "/ping", headers={"x-request-id": "mine-1"}),
    _inference("ping with body", "GET", "/ping", "noise"),
    _inference("ping close", "GET", "/ping", headers={"Connection": "close"}),
    _inference("ping origin", "GET", "/ping", headers={"Origin": "http://elsewhere.example"}),
    _manage("ping on management", "GET", "/ping"),
    # the root and the description
    *(_inference(f"root {method}", method, "/") for method in (*_ANY, *_OTHER)),
    *(_inference(f"api description {method}", method, "/api-description") for method in ("GET", "POST", "HEAD")),
    *(_manage(f"management root {method}", method, "/") for method in ("GET", "OPTIONS", "POST")),
    _manage("management api description", "GET", "/api-description"),
    _inference("options of a model", "OPTIONS", "/predictions/tiny"),
    _inference("options of no model", "OPTIONS", "/predictions/nobody"),
    # no such thing
    *(_inference(f"nowhere {method}", method, "/nowhere") for method in _ANY),
    _inference("nowhere deeper", "GET", "/nowhere/at/all"),
    _inference("nowhere icon", "GET", "/favicon.ico"),
    _inference("nowhere v3", "GET", "/v3/models"),
    _inference("models on inference", "GET", "/models"),
    _inference("a model on inference", "GET", "/models/tiny"),
    _inference("register on inference", "POST", "/models?url=pair-1.mar"),
    _inference("metrics on inference", "GET", "/metrics"),
    # predictions, in all forms of the URL
    *(_inference(f"predict {method}", method, "/predictions/tiny", "picture") for method in _ANY),
    *(_inference(f"predict {method}", method, "/predictions/tiny", "picture") for method in ("HEAD", "TRACE", "BREW")),
    _inference("predict slash", "POST", "/predictions/tiny/", "picture"),
    _inference("predict version", "POST", "/predictions/tiny/1.0", "picture"),
    _inference("predict version slash", "POST", "/predictions/tiny/1.0/", "picture"),
    _inference("predict rest", "POST", "/predictions/tiny/1.0/some/more", "picture"),
    _inference("predict escaped", "POST", "/predictions/t%69ny", "picture"),
    _inference("predict capitals", "POST", "/predictions/TINY", "picture"),
    _inference("predict nobody", "POST", "/predictions/nobody", "picture"),
    _inference("predict nobody version", "POST", "/predictions/nobody/1.0", "picture"),
    _inference("predict no version", "POST", "/predictions/tiny/9.9", "picture"),
    _inference("predict no name", "POST", "/predictions", "picture"),
    _inference("predict no name slash", "POST", "/predictions/", "picture"),
    _inference("predict threshold", "POST", "/predictions/tiny?threshold=0.9", "picture"),
    _inference("predict unknown parameter", "POST", "/predictions/tiny?colour=red", "picture"),
    _inference("predict empty query", "POST", "/predictions/tiny?", "picture"),
    _inference("invoke", "POST", "/models/tiny/invoke", "picture"),
    _inference("invoke slash", "POST", "/models/tiny/invoke/", "picture"),
    _inference("invoke nobody", "POST", "/models/nobody/invoke", "picture"),
    _inference("invoke GET", "GET", "/models/tiny/invoke", "picture"),
    _inference("invoke PUT", "PUT", "/models/tiny/invoke", "picture"),
    _inference("invocations of a model", "POST", "/invocations?model_name=tiny", "picture"),
    _inference("invocations of nobody", "POST", "/invocations?model_name=nobody", "picture"),
    _inference("invocations of one", "POST", "/invocations", "picture"),
    _inference("invocations empty name", "POST", "/invocations?model_name=", "picture"),
    _inference("invocations GET", "GET", "/invocations?model_name=tiny", "picture"),
    _inference("invocations below", "POST", "/invocations/tiny", "picture"),
    _inference("short form", "POST", "/tiny/predict", "picture"),
    _inference("short form version", "POST", "/tiny/1.0/predict", "picture"),
    _inference("short form no version", "POST", "/tiny/9.9/predict", "picture"),
    _inference("short form nobody", "POST", "/nobody/predict", "picture"),
    _inference("short form GET", "GET", "/tiny/predict", "picture"),
    # what is in them
    *(_inference(f"odd {name}", "PUT", "/predictions/tiny", name) for name in _ODD),
    *(_inference(f"body {name}", "POST", "/predictions/tiny", name) for name in _BODIES),
    *(_inference(f"body {name}", "POST", "/predictions/tiny", name) for name in _FORMS),
    _inference("body absent", "POST", "/predictions/tiny"),
    _inference("body absent GET", "GET", "/predictions/tiny"),
    _inference("body packed", "POST", "/predictions/tiny", "gzip", headers={"Content-Encoding": "gzip"}),
    _inference("body packed unknown", "POST", "/predictions/tiny", "picture", headers={"Content-Encoding": "br"}),
    _inference("body not packed", "POST", "/predictions/tiny", "picture", headers={"Content-Encoding": "gzip"}),
    _inference("body type nonsense", "POST", "/predictions/tiny", "picture", headers={"Content-Type": "nonsense"}),
    _inference("body type text", "POST", "/predictions/tiny", "picture", headers={"Content-Type": "text/plain"}),
    _inference("body type json", "POST", "/predictions/tiny", "picture", headers={"Content-Type": "application/json"}),
    _inference(
        "body type charset", "POST", "/predictions/tiny", "base64",
        headers={"Content-Type": "text/plain; charset=utf-8"}
    ),
    _inference("accept picture", "POST", "/predictions/tiny", "picture", headers={"Accept": "image/png"}),
    _inference("accept packed", "POST", "/predictions/tiny", "picture", headers={"Accept-Encoding": "gzip"}),
    # explanations and workflows
    _inference("explain", "POST", "/explanations/tiny", "picture"),
    _inference("explain version", "POST", "/explanations/tiny/1.0", "picture"),
    _inference("explain nobody", "POST", "/explanations/nobody", "picture"),
    _inference("workflow predict", "POST", "/wfpredict/flow", "picture"),
    _manage("workflows", "GET", "/workflows"),
    _manage("workflow register", "POST", "/workflows?url=flow.war"),
    _manage("workflow describe", "GET", "/workflows/flow"),
    _manage("workflow unregister", "DELETE", "/workflows/flow"),
    # KServe's protocols
    _inference("v1 predict nobody", "POST", "/v1/models/nobody:predict", "v1"),
    _inference("v1 explain", "POST", "/v1/models/tiny:explain", "v1"),
    _inference("v1 ready on inference", "GET", "/v1/models/tiny"),
    _inference("v1 list on inference", "GET", "/v1/models"),
    _manage("v1 ready", "GET", "/v1/models/tiny"),
    _manage("v1 ready nobody", "GET", "/v1/models/nobody"),
    _manage("v1 ready slash", "GET", "/v1/models/tiny/"),
    _inference("v2 server", "GET", "/v2"),
    _inference("v2 live", "GET", "/v2/health/live"),
    _inference("v2 ready", "GET", "/v2/health/ready"),
    _inference("v2 model", "GET", "/v2/models/tiny"),
    _inference("v2 model ready", "GET", "/v2/models/tiny/ready"),
    _inference("v2 model ready nobody", "GET", "/v2/models/nobody/ready"),
    _inference("v2 infer nobody", "POST", "/v2/models/nobody/infer", "json empty"),
    _inference("v2 infer noise", "POST", "/v2/models/tiny/infer", "json empty"),
    # listing and describing
    _manage("list", "GET", "/models"),
    _manage("list slash", "GET", "/models/"),
    _manage("list words", "GET", "/models?limit=some"),
    _manage("list token words", "GET", "/models?next_page_token=some"),
    _manage("list token below zero", "GET", "/models?next_page_token=-1"),
    _manage("list unknown parameter", "GET", "/models?colour=red"),
    _manage("list HEAD", "HEAD", "/models"),
    _manage("list PUT", "PUT", "/models"),
    _manage("list DELETE", "DELETE", "/models"),
    _manage("list PATCH", "PATCH", "/models"),
    _manage("describe", "GET", "/models/tiny"),
    _manage("describe slash", "GET", "/models/tiny/"),
    _manage("describe version", "GET", "/models/tiny/1.0"),
    _manage("describe all", "GET", "/models/tiny/all"),
    _manage("describe nobody", "GET", "/models/nobody"),
    _manage("describe nobody all", "GET", "/models/nobody/all"),
    _manage("describe no version", "GET", "/models/tiny/9.9"),
    _manage("describe customized", "GET", "/models/tiny?customized=true"),
    _manage("describe not customized", "GET", "/models/tiny?customized=false"),
    _manage("describe deeper", "GET", "/models/tiny/1.0/more"),
    _manage("describe POST", "POST", "/models/tiny"),
    _manage("describe PATCH", "PATCH", "/models/tiny"),
    _manage("describe HEAD", "HEAD", "/models/tiny"),
    _manage("predict on management", "POST", "/predictions/tiny", "picture"),
    _manage("nowhere on management", "GET", "/nowhere"),
    # registering: what is refused
    _manage("register no url", "POST", "/models"),
    _manage("register empty url", "POST", "/models?url="),
    _manage("register json nothing", "POST", "/models", "register nothing"),
    _manage("register json words", "POST", "/models", "register words"),
    _manage("register relative", "POST", "/models?url=../pair-1.mar"),
    _manage("register relative inside", "POST", "/models?url=sub/../pair-1.mar"),
    _manage("register absent", "POST", "/models?url=absent.mar"),
    _manage("register noise", "POST", "/models?url=noise.mar"),
    _manage("register foreign", "POST", "/models?url=foreign.mar"),
    _manage("register runtime", "POST", "/models?url=pair-1.mar&runtime=JAVA"),
    _manage("register address", "POST", "/models?url=http://127.0.0.1:9/elsewhere.mar"),
    _manage("register address of a name that is there", "POST", "/models?url=http://127.0.0.1:9/pair-1.mar"),
    _manage("register file", "POST", "/models?url=file:///absent/elsewhere.mar"),
    _manage("register absolute", "POST", "/models?url=/absent/elsewhere.mar"),
    _manage("register again", "POST", "/models?url=tiny.mar"),
    _manage("list after refusals", "GET", "/models"),
    # registering, scaling, versions, unregistering
    _manage("register", "POST", "/models?url=pair-1.mar"),
    _manage("register twice", "POST", "/models?url=pair-1.mar"),
    _manage(
        "register words for numbers", "POST",
        "/models?url=pair-1.mar&batch_size=x&initial_workers=y&synchronous=z"
    ),
    _manage("register unknown parameter", "POST", "/models?url=pair-1.mar&colour=red"),
    _inference("invocations of two", "POST", "/invocations", "picture"),
    _manage("list one", "GET", "/models?limit=1"),
    _manage("list next", "GET", "/models?limit=1&next_page_token=1"),
    _manage("list after the end", "GET", "/models?limit=1&next_page_token=2"),
    _manage("list far after the end", "GET", "/models?next_page_token=99"),
    _manage("list none", "GET", "/models?limit=0"),
    _manage("list fewer than none", "GET", "/models?limit=-1"),
    _manage("describe without workers", "GET", "/models/pair"),
    _inference("predict without workers", "POST", "/predictions/pair", "picture"),
    _inference("predict version without workers", "POST", "/predictions/pair/1.0", "picture"),
    _manage("v1 ready without workers", "GET", "/v1/models/pair"),
    _inference("ping without workers", "GET", "/ping"),
    _manage("scale up", "PUT", "/models/pair?min_worker=1&synchronous=true", until={"pair": 1}),
    _manage("scale same", "PUT", "/models/pair?min_worker=1&synchronous=true"),
    _manage("describe scaled", "GET", "/models/pair"),
    _inference("predict scaled", "POST", "/predictions/pair", "picture"),
    _manage("scale most below least", "PUT", "/models/pair?min_worker=2&max_worker=1"),
    _manage("scale words", "PUT", "/models/pair?min_worker=some&synchronous=true", until={"pair": 1}),
    _manage("scale nobody", "PUT", "/models/nobody?min_worker=1"),
    _manage("scale no version", "PUT", "/models/pair/9.9?min_worker=1"),
    _manage("scale version", "PUT", "/models/pair/1.0?min_worker=1&synchronous=true"),
    _manage("scale default numbers", "PUT", "/models/pair", until={"pair": 1}),
    _manage("scale unknown parameter", "PUT", "/models/pair?colour=red", until={"pair": 1}),
    _manage("register second", "POST", "/models?url=pair-2.mar&initial_workers=1&synchronous=true", until={"pair": 2}),
    _manage("register second twice", "POST", "/models?url=pair-2.mar&initial_workers=1&synchronous=true"),
    _manage("list with pair", "GET", "/models"),
    _manage("describe default", "GET", "/models/pair"),
    _manage("describe second", "GET", "/models/pair/2.0"),
    _manage("describe both", "GET", "/models/pair/all"),
    _inference("predict first", "POST", "/predictions/pair/1.0", "picture"),
    _inference("predict second", "POST", "/predictions/pair/2.0", "picture"),
    _manage("unregister default", "DELETE", "/models/pair"),
    _manage("unregister default version", "DELETE", "/models/pair/1.0"),
    _manage("unregister no version", "DELETE", "/models/pair/9.9"),
    _manage("default no version", "PUT", "/models/pair/9.9/set-default"),
    _manage("default nobody", "PUT", "/models/nobody/1.0/set-default"),
    _manage("default GET", "GET", "/models/pair/2.0/set-default"),
    _manage("default second", "PUT", "/models/pair/2.0/set-default"),
    _manage("default second again", "PUT", "/models/pair/2.0/set-default/"),
    _manage("describe new default", "GET", "/models/pair"),
    _manage("describe both after", "GET", "/models/pair/all"),
    _inference("predict new default", "POST", "/predictions/pair", "picture"),
    _manage("scale to none", "PUT", "/models/pair/1.0?min_worker=0&synchronous=true", until={"pair": 1}),
    _inference("predict scaled to none", "POST", "/predictions/pair/1.0", "picture"),
    _manage("describe scaled to none", "GET", "/models/pair/1.0"),
    _manage("unregister first", "DELETE", "/models/pair/1.0"),
    _inference("predict unregistered version", "POST", "/predictions/pair/1.0", "picture"),
    _manage("unregister last", "DELETE", "/models/pair", until={"pair": -1}),
    _inference("predict unregistered", "POST", "/predictions/pair", "picture"),
    _manage("unregister again", "DELETE", "/models/pair"),
    _manage("unregister nobody", "DELETE", "/models/nobody"),
    _manage("unregister nobody version", "DELETE", "/models/nobody/1.0"),
    _manage("register by json", "POST", "/models", "register pair 1"),
    _manage("unregister by json", "DELETE", "/models/pair/1.0", until={"pair": -1}),
    _manage("register later", "POST", "/models?url=pair-1.mar&initial_workers=1", until={"pair": 1}),
    _manage("describe later", "GET", "/models/pair"),
    _manage("unregister later", "DELETE", "/models/pair", until={"pair": -1}),
    _manage("register other name", "POST", "/models?url=pair-1.mar&model_name=other"),
    _manage("describe other name", "GET", "/models/other"),
    _manage("unregister other name", "DELETE", "/models/other", until={"other": -1}),
    _manage("register bad name", "POST", "/models?url=pair-1.mar&model_name=a%20b"),
    _manage("unregister bad name", "DELETE", "/models/a%20b"),
    _manage(
        "register options", "POST",
        "/models?url=pair-1.mar&batch_size=2&max_batch_delay=50"
        "&response_timeout=30&startup_timeout=40"
    ),
    _manage("describe options", "GET", "/models/pair"),
    _manage("scale below zero", "PUT", "/models/pair?min_worker=-1"),
    _manage("unregister options", "DELETE", "/models/pair", until={"pair": -1}),
    _manage("register handler", "POST", "/models?url=pair-1.mar&handler=image_classifier"),
    _manage("unregister handler", "DELETE", "/models/pair"),
    _manage("list at the end", "GET", "/models"),
    # tokens, where there are none
    _manage("token", "GET", "/token?type=inference"),
    _inference("ping with a token", "GET", "/ping", headers={"Authorization": "Bearer abc"}),
    # metrics
    *(Call(f"metrics {method}", "metrics", method, "/metrics") for method in ("POST", "PUT", "DELETE")),
    Call("metrics GET", "metrics", "GET", "/metrics"),
    Call("metrics HEAD", "metrics", "HEAD", "/metrics"),
    Call("metrics of a name", "metrics", "GET", "/metrics?name[]=Requests2XX"),
    Call("metrics nowhere", "metrics", "GET", "/nowhere"),
    Call("metrics ping", "metrics", "GET", "/ping"),
)  # fmt: skip


def _with_token(name: str, method: str, target: str, body: str = "") -> Call:
    return Call(name, "inference", method, target, body, headers={"Authorization": "Bearer {inference}"})


def _token(name: str, port: str, target: str, authorization: str = "") -> Call:
    return Call(name, port, "GET", target, headers={"Authorization": authorization})


ENVELOPED: tuple[Call, ...] = (
    _with_token("v1 predict", "POST", "/v1/models/tiny:predict", "v1"),
    _with_token("v1 predict slash", "POST", "/v1/models/tiny:predict/", "v1"),
    _with_token("v1 predict untyped", "POST", "/v1/models/tiny:predict", "v1 untyped"),
    _with_token("v1 predict two", "POST", "/v1/models/tiny:predict", "v1 two"),
    _with_token("v1 predict none", "POST", "/v1/models/tiny:predict", "v1 none"),
    _with_token("v1 predict other", "POST", "/v1/models/tiny:predict", "v1 other"),
    _with_token("v1 predict noise", "POST", "/v1/models/tiny:predict", "v1 noise"),
    _with_token("v1 predict broken", "POST", "/v1/models/tiny:predict", "json broken"),
    _with_token("v1 predict GET", "GET", "/v1/models/tiny:predict"),
    _with_token("v1 predict nobody enveloped", "POST", "/v1/models/nobody:predict", "v1"),
    # tokens
    _token("ping without a token", "inference", "/ping"),
    _token("ping with its token", "inference", "/ping", "Bearer {inference}"),
    _token("ping with another token", "inference", "/ping", "Bearer {management}"),
    _token("ping with the renewing token", "inference", "/ping", "Bearer {API}"),
    _token("ping with a wrong token", "inference", "/ping", "Bearer abcdefgh"),
    _token("ping with a token alone", "inference", "/ping", "{inference}"),
    _token("ping with an empty token", "inference", "/ping", "Bearer "),
    _token("ping with a name", "inference", "/ping", "Basic {inference}"),
    _token("nowhere without a token", "inference", "/nowhere"),
    _token("list without a token", "management", "/models"),
    _token("list with its token", "management", "/models", "Bearer {management}"),
    _token("list with another token", "management", "/models", "Bearer {inference}"),
    _token("metrics port without a token", "metrics", "/nowhere"),
    _token("renew without a token", "management", "/token?type=inference"),
    _token("renew with another token", "management", "/token?type=inference", "Bearer {management}"),
    _token("renew nothing", "management", "/token", "Bearer {API}"),
    _token("renew another thing", "management", "/token?type=other", "Bearer {API}"),
    _token("renew", "management", "/token?type=inference", "Bearer {API}"),
    _token("ping with the new token", "inference", "/ping", "Bearer {inference}"),
    _token("renew management", "management", "/token?type=management", "Bearer {API}"),
    _token("list with the new token", "management", "/models", "Bearer {management}"),
    _token("renew on inference", "inference", "/token?type=inference", "Bearer {API}"),
)
"""For servers that were told to speak KServe's first protocol, and to ask for tokens."""
