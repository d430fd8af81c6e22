"""Two ranks train what one trains, go on with what it began, and end when the other is gone."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from accord.concepts import Step, fit
from accord.concepts.l1 import L1
from accord.errors import AccordError
from accord.ranks import Ranks, free_address, join
from accord.study import engine, store
from accord.study.stage import Stage
from accord.study.work import Models
from tests import two_ranks
from tests.tiny import tiny_model, tiny_texts, tiny_tokenizer

ROOT = Path(__file__).parents[1]
GONE = "RankLost: Rank 1 is gone: its process died, or its machine cannot be reached."


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> SimpleNamespace:
    """What two processes found that trained everything together."""
    folder = tmp_path_factory.mktemp("ranks")
    tiny_model("llama").save_pretrained(folder / "model")
    tiny_tokenizer().save_pretrained(folder / "model")
    (folder / "texts.txt").write_text("\n".join(tiny_texts(40)))
    (folder / "study.toml").write_text(two_ranks.STUDY)
    file = two_ranks.load(folder / "study.toml")
    engine.run(folder / "study.toml", folder / "run", console=engine.Screen(stderr=True), only=["embeddings"])
    engine.run(folder / "study.toml", folder / "alone", console=engine.Screen(stderr=True), only=["heads"])
    assert file.study.name == "s"
    with pytest.raises(two_ranks.StoppedError):
        two_ranks.train_concepts("lcblm", folder=folder / "one", progress=two_ranks.stop_at(10))
    addresses = [free_address(), free_address()]
    path = os.pathsep.join([str(ROOT), *sys.path])
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.two_ranks", str(rank), str(folder), *addresses],
            env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        )
        for rank in (0, 1)
    ]
    try:
        ends = [rank.wait(timeout=240) for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert ends == [0, -9]
    said = [json.loads((folder / f"rank-{rank}/said.json").read_text()) for rank in (0, 1)]
    return SimpleNamespace(folder=folder, said=said)


def states(pair: SimpleNamespace, name: str) -> list[dict[str, Tensor]]:
    return [load_file(pair.folder / f"rank-{rank}/{name}.safetensors") for rank in (0, 1)]


def check_alike(pair: SimpleNamespace, name: str, alone: dict[str, Tensor], *, to: float = 1e-10) -> None:
    """Both ranks have the same bits, which are those of one process but for float error."""
    zero, one = states(pair, name)
    assert zero.keys() == alone.keys()
    for key, tensor in alone.items():
        assert torch.equal(zero[key], one[key]), key
        torch.testing.assert_close(zero[key], tensor, atol=to, rtol=to, msg=lambda text, key=key: f"{key}: {text}")


@pytest.mark.parametrize("name", two_ranks.CONCEPTS)
def test_two_ranks_train_the_concepts_that_one_trains(name, pair):
    state, rows = two_ranks.train_concepts(name)
    check_alike(pair, name, state)
    assert pair.said[0][name] == pair.said[1][name]
    for row, alone in zip(pair.said[0][name], rows, strict=True):
        assert row == pytest.approx(alone, rel=1e-9, abs=1e-9)
    # What was dead has learnt, or was reseeded: the test tries what it says.
    if "topk" in name:
        assert any(row["aux"] > 0 for row in rows)
    for weight in {"b_enc", "offset"} & state.keys() if "topk" not in name else ():
        assert (state[weight] > two_ranks.NEVER + 1).all()


@pytest.mark.parametrize("name", two_ranks.HEADS)
def test_two_ranks_train_the_head_that_one_trains(name, pair):
    # The norm that is fine-tuned computes in float32, whatever its weights are.
    check_alike(pair, name, two_ranks.train_a_head(name), to=1e-4 if name == "finetuned" else 1e-10)


def test_ranks_stop_early_together(pair):
    state, rows = two_ranks.train_concepts("topk", training=two_ranks.STOPPING)
    assert rows[-1]["step"] < 200
    assert [row["step"] for row in pair.said[1]["stopping"]] == [row["step"] for row in rows]
    check_alike(pair, "stopping", state, to=1e-6)


def test_the_largest_are_as_many_as_with_one_rank_though_they_tie(pair):
    values = torch.randint(0, 4, (9, 5), generator=torch.Generator().manual_seed(3)).double()
    chosen = [place for said in pair.said for place in said["ties"]]
    alone = two_ranks.ties(Step(0, 1), values)
    assert len(set(chosen)) == len(chosen) == 18
    assert sorted(values.flatten()[chosen]) == sorted(values.flatten()[alone])
    assert (values == values.flatten()[alone].min()).sum() > 1
    assert [said["none"] for said in pair.said] == [float("inf")] * 2
    assert [said["least"] for said in pair.said] == [1.0] * 2


def test_one_goes_on_with_what_two_began_and_two_with_what_one_began(pair):
    straight = two_ranks.train_concepts("lcblm")[0]
    check_alike(pair, "went on", straight)
    begun = sorted(path.name for path in (pair.folder / "two/checkpoints").iterdir())
    assert begun == ["step-00000008", "step-00000008.note"]
    again, _ = two_ranks.train_concepts("lcblm", folder=pair.folder / "two")
    for key, tensor in straight.items():
        torch.testing.assert_close(again[key], tensor, atol=1e-10, rtol=1e-10)


def test_a_stage_is_made_by_two_ranks_and_written_by_one(pair):
    assert [said["made"] for said in pair.said] == [[True, True]] * 2
    assert [said["again"] for said in pair.said] == [[False, False]] * 2
    run, alone = pair.folder / "run", pair.folder / "alone"
    for name in ("concepts/bernoulli-s0", "heads/bernoulli-latents-new-s0"):
        files = [sorted(path.name for path in (where / name).iterdir()) for where in (run, alone)]
        assert files[0] == files[1]
        assert store.read_manifest(run / name)["fingerprint"] == store.read_manifest(alone / name)["fingerprint"]
        for path in (alone / name).glob("*.safetensors"):
            for key, tensor in load_file(path).items():
                torch.testing.assert_close(load_file(run / name / path.name)[key], tensor, atol=2e-5, rtol=1e-4)
    assert not list(run.rglob("*.partial"))


def test_what_is_wrong_is_told_on_all_ranks(pair):
    for said in pair.said:
        assert said["nan"].startswith("AccordError: training stopped: the loss is not a finite number")
        assert "step 0" in said["nan"]
    assert pair.said[1]["differs"].startswith("AccordError: the training of rank 0 has another model")
    assert pair.said[0]["differs"].startswith("RankLost: Rank 1 stopped: the training of rank 0 has another model.")


def test_who_died_is_named_and_the_same_call_goes_on(pair):
    assert pair.said[0]["died"].startswith(GONE)
    assert "died" not in pair.said[1]
    left = sorted(path.name for path in (pair.folder / "killed/checkpoints").iterdir())
    assert left == ["step-00000004", "step-00000004.note"]
    again, _ = two_ranks.train_concepts("lcblm", folder=pair.folder / "killed")
    for key, tensor in two_ranks.train_concepts("lcblm")[0].items():
        torch.testing.assert_close(again[key], tensor, atol=1e-10, rtol=1e-10)


def test_who_does_not_come_is_named():
    with pytest.raises(AccordError, match="did not meet: rank 1 did not come") as error:
        join(0, 2, free_address(), timeout=0.5)
    assert "rank 0 of 2" in str(error.value)
    with pytest.raises(AccordError, match="did not meet: rank 0 did not come"):
        join(1, 2, free_address(), timeout=0.5)


@pytest.mark.parametrize(
    ("rank", "size", "address", "what"),
    [(2, 2, "127.0.0.1:1", "no such rank"), (0, 1, "here", "HOST:PORT"), (None, None, None, "which rank this process")],
)
def test_places_that_are_none_are_refused(rank, size, address, what, monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(AccordError, match=what):
        join(rank, size, address)


@pytest.fixture
def one():
    """The only rank."""
    with join(0, 1, free_address()) as ranks:
        yield ranks


def test_as_torchrun_starts_it(monkeypatch):
    host, _, port = free_address().partition(":")
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": host, "MASTER_PORT": port}.items():
        monkeypatch.setenv(name, value)
    with join() as ranks:
        assert (ranks.rank, ranks.size) == (0, 1)
        with pytest.raises(AccordError, match="among ranks already"):
            join()
    with pytest.raises(AccordError, match="has left the ranks"):
        ranks.sum(torch.ones(1))


def listening() -> dict[int, str]:
    """The sockets of this process at which others may come in over IPv4 or IPv6: their inodes and addresses."""
    links = [str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    own = {int(link[8:-1]) for link in links if link.startswith("socket:[")}
    lines = [line.split() for kind in ("tcp", "tcp6") for line in Path("/proc/net", kind).read_text().splitlines()[1:]]
    return {int(of[9]): of[1].partition(":")[0] for of in lines if of[3] == "0A" and int(of[9]) in own}


def own_address() -> str:
    """By which other machines reach this one; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        try:
            line.connect(("192.0.2.1", 1))
        except OSError:
            return "127.0.0.1"
        return str(line.getsockname()[0])


@pytest.mark.skipif(sys.platform != "linux", reason="reads what the system says of sockets")
@pytest.mark.parametrize("host", ["127.0.0.1", own_address()])
def test_ranks_listen_where_they_meet_and_nowhere_else(host):
    before = listening()
    with join(0, 1, free_address(host)):
        opened = [address for inode, address in listening().items() if inode not in before]
    assert len(opened) >= 2  # the meeting place, and gloo
    assert set(opened) == {socket.inet_aton(host)[::-1].hex().upper()}


def test_an_address_of_another_machine_is_none_to_listen_at():
    with pytest.raises(AccordError, match="rank 0 cannot listen there"):
        join(0, 1, free_address("198.51.100.1"), timeout=0.5)


@pytest.mark.parametrize("size", [1, 2, 3, 8])
@pytest.mark.parametrize("rows", [0, 1, 7, 64])
def test_slices_make_the_batch(rows, size):
    def of(rank: int) -> list[int]:
        place: Ranks = SimpleNamespace(rank=rank, size=size)  # type: ignore[assignment]
        return list(range(rows))[Ranks.slice(place, rows)]

    parts = [of(rank) for rank in range(size)]
    assert [row for part in parts for row in part] == list(range(rows))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_loss_that_knows_only_its_rows_is_trained_by_one(one):
    class Own(L1):
        by_ranks = False

    model = two_ranks.concept_model(two_ranks.CONCEPTS["l1"])
    model.__class__ = Own
    with pytest.raises(AccordError, match="Several ranks cannot train this"):
        fit(model, two_ranks.uneven, two_ranks.TRAINING, ranks=one)


def test_a_stage_without_training_is_not_for_ranks(one, tmp_path):
    stage = Stage("gap", "", lambda work: None, {}, 0, 1)
    with pytest.raises(AccordError, match="nothing to train"):
        store.publish(stage, tmp_path / "gap", models=Models(), ranks=one)
