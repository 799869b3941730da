import pytest

from tests.clusters import tf_config
from utils.errors import UserError
from utils.training.cluster import ALONE, read_cluster
from utils.training.strategies import is_chief


@pytest.mark.parametrize(
    ("text", "index"),
    [
        (tf_config(0, worker=["a:1", "b:1"]), 0),
        (tf_config(1, worker=["a:1", "b:1"]), 1),
        (tf_config(0, chief=["a:1"], worker=["b:1"]), 1),
        (tf_config(0, "chief", chief=["a:1"], worker=["b:1"]), 0),
    ],
)
def test_chief_is_the_first_worker(monkeypatch, text, index):
    monkeypatch.setenv("TF_CONFIG", text)
    cluster = read_cluster()
    assert cluster.addresses == ("a:1", "b:1")
    assert cluster.index == index
    assert is_chief("multiworker") is (index == 0)
    assert is_chief("single") and is_chief("mirrored")


@pytest.mark.parametrize("text", ["", "{}", '{"cluster": {}}'])
def test_process_without_cluster_is_alone(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    assert read_cluster() is ALONE
    assert is_chief("multiworker")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "not a JSON object"),
        ('{"cluster": {"worker": ["a:1"]}}', "the task None"),
        (tf_config(2, worker=["a:1", "b:1"]), r"2 as the index of its task, not 0\.\.1"),
        (tf_config("0", worker=["a:1"]), "'0' as the index"),
        (tf_config(0, "chief", worker=["a:1"]), "not in its cluster"),
        (tf_config(0, ["worker"], worker=["a:1"]), "not in its cluster"),
        (tf_config(0, worker=["a:1"], ps=["b:1"]), "type 'ps', use only chief and worker"),
        (tf_config(0, worker=["a:1", "a:1"]), "twice"),
        (tf_config(0, worker=["a"]), "'a', which is not host:port"),
        (tf_config(0, worker="a:1"), "object of lists"),
        (tf_config(0, chief=["a:1", "b:1"], worker=["c:1"]), "more than one chief"),
    ],
)
def test_wrong_tf_config_is_one_line(monkeypatch, text, message):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(UserError, match=rf"TF_CONFIG.*{message}.*an example is") as error:
        read_cluster()
    assert "\n" not in str(error.value)
