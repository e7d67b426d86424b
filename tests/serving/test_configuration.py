"""TorchServe's config.properties and model-config.yaml."""

from pathlib import Path

import pytest

from boxwright.runtime import ArchiveError, ConfigError, open_bundle
from boxwright.serving.configuration import ModelChanges, read_configuration, read_model_config, read_properties
from boxwright.serving.model import ModelOptions
from boxwright.serving.settings import Limits, Security, ServerSettings


@pytest.fixture
def read(tmp_path):
    def call(text, environment=None, settings=None):
        path = tmp_path / "config.properties"
        path.write_text(text)
        return read_configuration(path, settings or ServerSettings(), environment or {})

    return call


def test_the_format_is_javas():
    text = (
        "# a comment\n"
        "! another\n"
        "\n"
        "a=1\n"
        "  b : two words \n"
        "c three\n"
        "d=one, \\\n"
        "    two\n"
        "e=\\u0041\\tb\\\\c\n"
        "f\\=g=h=i\n"
        "j\n"
        "k=ends in a backslash\\\\\n"
        "a=last\n"
        "models={\\\n"
        '  "m": 1\\\n'
        "}\n"
    )
    assert read_properties(text) == {
        "a": "last", "b": "two words ", "c": "three", "d": "one, two", "e": "A\tb\\c", "f=g": "h=i", "j": "",
        "k": "ends in a backslash\\", "models": '{"m": 1}',
    }  # fmt: skip


def test_every_key_with_a_meaning(read):
    text = """
inference_address=https://0.0.0.0:9000
management_address=https://0.0.0.0:9001
metrics_address=https://0.0.0.0
grpc_inference_port=7070
model_store=/srv/models
load_models=a.mar, b=c.mar
job_queue_size=7
default_response_timeout=9
default_workers_per_model=2
max_request_size=1000
allowed_urls=https://one/.*,https://two/.*
enable_model_api=true
disable_token_authorization=false
token_expiration_min=5
cors_allowed_origin=https://page
certificate_file=/c.pem
private_key_file=/k.pem
"""
    found = read(text)
    assert found.settings == ServerSettings(
        host="0.0.0.0", port=9000, management_port=9001, management_host="0.0.0.0", metrics_port=8445,
        metrics_host="0.0.0.0", grpc_port=7070, store=Path("/srv/models"),
        models=ModelOptions(queue_size=7, timeout=9), limits=Limits(max_body=1000),
        security=Security(
            tokens=True, token_minutes=5, certificate=Path("/c.pem"), private_key=Path("/k.pem"),
            origins=("https://page",), model_api=True, allowed_urls=("https://one/.*", "https://two/.*"),
        ),
    )  # fmt: skip
    assert found.load == (("a.mar", None), ("c.mar", "b"))
    assert (found.workers, found.notes) == (2, ())


@pytest.mark.parametrize(
    ("value", "load"), [("all", None), ("ALL", None), ("", ()), ("none", ()), ("m=m.mar", (("m.mar", "m"),))]
)
def test_what_is_loaded(read, value, load):
    assert read(f"load_models={value}").load == load


def test_what_is_not_said_stays(read):
    before = ServerSettings(port=1, models=ModelOptions(batch_size=4), security=Security(tokens=True))
    found = read("job_queue_size=5", settings=before)
    assert found.settings == ServerSettings(
        port=1, models=ModelOptions(batch_size=4, queue_size=5), security=Security(tokens=True)
    )
    assert read("").settings == ServerSettings()


def test_keys_that_mean_nothing_are_named(read):
    text = "service_envelope=kserve\nnumber_of_netty_threads=4\nmy_key=1\njob_queue_siz=3\n"
    assert read(text).notes == (
        "service_envelope has no meaning here: the URL says which protocol is spoken.",
        "number_of_netty_threads has no meaning here.",
        "my_key is unknown.",
        "job_queue_siz is unknown.",
    )


def test_each_port_keeps_its_host(read):
    """A server in a container listens everywhere for predictions, and on loopback for what changes it."""
    found = read("management_address=http://127.0.0.1:81\ninference_address=http://0.0.0.0:80\n")
    assert (found.settings.host, found.settings.port) == ("0.0.0.0", 80)
    assert (found.settings.management_host, found.settings.management_port) == ("127.0.0.1", 81)
    assert found.notes == ()


def test_https_without_a_certificate_is_an_error(read):
    with pytest.raises(ConfigError, match=r"inference_address = https://127\.0\.0\.1:8443 asks for https"):
        read("inference_address=https://127.0.0.1:8443\nkeystore=keys.p12\n")


def test_the_environment_wins_where_it_is_asked(read):
    environment = {
        "TS_JOB_QUEUE_SIZE": "8", "TS_ALLOWED_URLS": "https://.*", "TS_TOKEN_EXPIRATION_TIME_MIN": "3",
        "TS_OPEN_INFERENCE_PROTOCOL": "oip", "TS_MODELS": "{}", "OTHER": "1",
    }  # fmt: skip
    asked = read("enable_envvars_config=true\njob_queue_size=7\n", environment)
    assert asked.settings.models.queue_size == 8
    assert asked.settings.security == Security(allowed_urls=("https://.*",), token_minutes=3)
    assert [note.split()[0] for note in asked.notes] == ["ts_open_inference_protocol"]
    not_asked = read("job_queue_size=7\n", environment)
    assert (not_asked.settings.models.queue_size, not_asked.settings.security) == (7, Security())
    only_urls = read("use_env_allowed_urls=true\njob_queue_size=7\n", environment)
    assert only_urls.settings.models.queue_size == 7
    assert only_urls.settings.security.allowed_urls == ("https://.*",)


def test_variables_in_values(read):
    assert read("model_store=$$HOME$$/models\n", {"HOME": "/home/me"}).settings.store == Path("/home/me/models")
    with pytest.raises(ConfigError, match="model_store names the environment variable NOWHERE"):
        read("model_store=$$NOWHERE$$\n")


def test_models_of_the_configuration(read):
    text = """models={\\
  "m": {\\
    "1.0": {"defaultVersion": true, "marName": "m.mar", "minWorkers": 2, "maxWorkers": 2, "batchSize": 4,\\
            "maxBatchDelay": 50, "responseTimeout": 30},\\
    "2.0": {"minWorkers": 1, "maxWorkers": 3, "deviceType": "gpu"}\\
  }\\
}
"""
    found = read(text)
    options = {"batch_size": 4, "batch_delay": 0.05, "timeout": 30}
    assert found.models["m", "1.0"] == ModelChanges(options, 2, True)
    assert (found.models["m", "2.0"].workers, found.models["m", "2.0"].options) == (1, {})
    assert len(found.notes) == 2
    assert all(note.startswith("models: m 2.0: ") for note in found.notes)


@pytest.mark.parametrize(
    ("line", "culprit"),
    [
        ("inference_address=8080", "inference_address"),
        ("inference_address=unix:/tmp/x", "inference_address"),
        ("inference_address=http://h:99999", "inference_address = http://h:99999 is not .* range"),
        ("inference_address=http://[", r"inference_address = http://\[ is not"),
        ("job_queue_size=0", "job_queue_size"),
        ("job_queue_size=many", "job_queue_size"),
        ("default_response_timeout=-1", "default_response_timeout"),
        ("enable_model_api=yes", "enable_model_api"),
        ("enable_envvars_config=1", "enable_envvars_config"),
        ("allowed_urls=(", "allowed_urls"),
        ("allowed_urls=a{99999999999999999999}", "allowed_urls"),
        ("models={", "models"),
        ('models={"m": 1}', "models"),
        ('models={"m": {"1.0": {"batchSize": "4"}}}', "batchSize"),
        ('models={"m": {"1.0": {"batchSize": 0}}}', "batchSize"),
        ('models={"m": {"1.0": {"minWorkers": true}}}', "minWorkers"),
    ],
)
def test_a_value_that_does_not_fit(read, line, culprit):
    with pytest.raises(ConfigError, match=culprit):
        read(line)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        read_configuration(tmp_path / "none", ServerSettings(), {})
    (tmp_path / "large").write_text("#" * 300_000)
    with pytest.raises(ConfigError, match="larger"):
        read_configuration(tmp_path / "large", ServerSettings(), {})


def of_model(mar, tmp_path, text):
    path = tmp_path / "tiny.mar"
    path.write_bytes(mar.read_bytes())
    path.with_name("tiny.model-config.yaml").write_text(text)
    return read_model_config(path, open_bundle(path))


def test_a_models_file(mar, tmp_path):
    text = "minWorkers: 2\nmaxWorkers: 2\nbatchSize: 3\nmaxBatchDelay: 100\nresponseTimeout: 60\njobQueueSize: 5\n"
    text += "deviceType: gpu\nhandler:\n  mine: 1\n"
    found = of_model(mar, tmp_path, text)
    assert found.options == {"batch_size": 3, "batch_delay": pytest.approx(0.1), "timeout": 60, "queue_size": 5}
    assert (found.workers, [note.split()[0] for note in found.notes]) == (2, ["deviceType", "handler"])
    assert of_model(mar, tmp_path, "") == ModelChanges()
    assert of_model(mar, tmp_path, "maxWorkers: 4\n").workers == 4


def test_an_archive_without_one_says_nothing(mar):
    assert read_model_config(mar, open_bundle(mar)) == ModelChanges()


@pytest.mark.parametrize(
    "text",
    [
        "batchSize: x\n",
        "batchSize: 0\n",
        "batchSize: 2.5\n",
        "minWorkers: -1\n",
        "- 1\n",
        "1: 2\n",
        "a: [\n",
        "x: !!python/object/apply:os.system ['true']\n",
        "[" * 5000,
        "#" * 300_000,
        "x: !!" + "y" * 200_000,
        f"batchSize: {'x' * 200_000}\n",
        f"minWorkers: [{'1, ' * 50_000}]\n",
        "a: &a [1]\nbatchSize: *a\n",
        "a: {<<: {b: 1}}\n",
    ],
)
def test_a_models_file_that_does_not_fit(mar, tmp_path, text):
    with pytest.raises(ArchiveError, match=r"tiny\.mar: its model configuration cannot be used") as refused:
        of_model(mar, tmp_path, text)
    assert len(str(refused.value)) < 1000


def test_a_models_file_of_copies_is_refused_before_it_grows(mar, tmp_path):
    levels = [f"l{level}: &l{level} [{', '.join([f'*l{level - 1}'] * 10)}]" for level in range(1, 7)]
    with pytest.raises(ArchiveError, match="an alias or a merge") as refused:
        of_model(mar, tmp_path, "\n".join(["l0: &l0 [x]", *levels, "batchSize: *l6"]))
    assert len(str(refused.value)) < 1000


def test_a_long_key_is_not_repeated_whole(mar, tmp_path):
    (note,) = of_model(mar, tmp_path, f"? {'x' * 200_000}\n: 1\n").notes
    assert len(note) < 200
