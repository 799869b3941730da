"""Checkpoints of torch: .pth."""

import numpy as np
import pytest
from hypothesis import strategies as st

from tests.fuzzing import damaged, judge
from tests.weights_checks import check_tensors
from utils.weights.tensorfiles import read_torch
from utils.weights.torch_names import translate

torch = pytest.importorskip("torch", reason="torch, which reads these files, is not installed")


def test_damaged_checkpoints_of_torch(fuzz, tmp_path):
    path = tmp_path / "a.pth"
    state = {"a.weight": torch.ones(2, 3), "a.num_batches_tracked": torch.tensor(3)}
    files = []
    for document, legacy in ((state, True), (state, False), ({"state_dict": state}, True)):
        torch.save(document, path, _use_new_zipfile_serialization=not legacy)
        files.append(path.read_bytes())
    words = [
        b"c__builtin__\neval\n",
        b"R.",
        b"(",
        b"\x80\x02",
        b"PK\x03\x04",
        b"BINGET",
        b"cos\nsystem\n",
    ]

    def check(data):
        path.write_bytes(data)
        check_state(path)

    fuzz(check, data=damaged(files, words))


def check_state(path):
    tensors = judge(read_torch, path)
    if tensors is not None:
        for name, values in tensors.items():
            assert isinstance(name, str) and values.dtype == np.float32
        check_tensors(judge(translate, tensors, None)[0])


ONES = torch.ones(2, 2)
TENSORS = [
    *(ONES, ONES.to(torch.complex64), ONES.bfloat16(), ONES.half(), ONES.to_sparse(), ONES[0, 0]),
    *(torch.ones(2, requires_grad=True), torch.nn.Parameter(ONES), torch.empty(2, device="meta")),
    *(ONES[:1, :1].expand(9, 9), ONES[:1, :1].half().expand(10**6, 10**6)),
    torch.quantize_per_tensor(ONES, 0.1, 0, torch.qint8),
]
STATES = st.recursive(
    st.sampled_from([*TENSORS, None, 1, "x", [1]]),
    lambda inner: st.dictionaries(
        st.sampled_from(["state_dict", "a.weight", "", 1, (1, 2), "x" * 5000]), inner, max_size=3
    ),
    max_leaves=4,
)


def test_checkpoints_of_torch(fuzz, tmp_path):
    path = tmp_path / "a.pth"

    def check(state):
        try:
            torch.save(state, path)
        except (NotImplementedError, RuntimeError):
            return
        check_state(path)

    fuzz(check, state=STATES)
