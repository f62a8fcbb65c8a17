"""The benchmark: that its rows are what they say, on sizes that take no time."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from rich.console import Console

from segstream.bench import BenchReport, blocks_runner, run_bench
from segstream.bench_rivals import dense_torch, onnxruntime_runner, to_onnx
from segstream.cli.bench import _shares
from segstream.engines.choose import make_engine
from segstream.errors import UsageError
from segstream.models.registry import UNTRAINED, untrained_model


@pytest.fixture(scope="module")
def report() -> BenchReport:
    steps: list[tuple[str, int, int]] = []
    report = run_bench(
        UNTRAINED,
        device="cpu",
        size=(250, 128),
        block=64,
        shares=(1.0, 0.4, 0.0),
        rounds=2,
        pipeline=True,
        progress=lambda *step: steps.append(step),
    )
    assert {name for name, _, _ in steps} >= {"timing", "the pipeline"}
    return report


def test_size_is_rounded_up_to_whole_blocks(report: BenchReport) -> None:
    assert report.size == (256, 128)


def test_rows_of_the_dense_network_and_of_blocks(report: BenchReport) -> None:
    dense = [row for row in report.rows if row.name.startswith("dense")]
    blocks = [row for row in report.rows if row.name.startswith("SegBlocks")]
    assert dense[0].engine == "torch"
    assert [row.high_share for row in blocks] == [1.0, 0.5, 0.0]  # 40 % of 8 blocks is rounded up to 4
    assert blocks[0].gmacs == pytest.approx(dense[0].gmacs)
    gmacs = [row.gmacs or 0 for row in blocks]
    assert gmacs[0] > gmacs[1] > gmacs[2] > 0
    for row in report.rows:
        assert row.ms > 0
        assert row.fps == pytest.approx(1e3 / row.ms)
    for row in (*dense, *blocks):
        assert row.ratio is not None and row.ratio > 0
        assert row.peak_mb is None or row.peak_mb >= 0


def test_the_last_row_is_the_pipeline(report: BenchReport) -> None:
    row = report.rows[-1]
    assert row.name.startswith("pipeline")
    assert row.ratio is None


def test_json_holds_every_row(report: BenchReport) -> None:
    values = json.loads(json.dumps(report.to_json()))
    assert set(values) >= {"device", "size", "versions", "rows"}
    assert "torch" in values["versions"]
    assert set(values["rows"][0]) == {"name", "engine", "high_share", "ms", "fps", "gmacs", "peak_mb", "ratio"}
    assert len(values["rows"]) == len(report.rows)


def test_table_shows_every_row(report: BenchReport) -> None:
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(report.table())
    text = console.export_text()
    for row in report.rows:
        assert row.name in text


def test_competitors_compute_the_same_logits() -> None:
    model = untrained_model()
    x = torch.randn(1, 3, 64, 128, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = model.network(x)
        assert torch.allclose(dense_torch(model.network, x)(), expected, atol=1e-4)  # type: ignore[arg-type]
        high = blocks_runner(model, make_engine(model, "cpu"), x.contiguous(memory_format=torch.channels_last), 64, 2)
        assert torch.allclose(high(), expected, atol=1e-4)  # type: ignore[arg-type]
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    with torch.no_grad():
        found = onnxruntime_runner(to_onnx(model.network, x), x)()
    assert torch.allclose(torch.from_numpy(found[0]), expected.clone(), atol=1e-4)  # type: ignore[index]


def test_the_commands_that_time_and_evaluate_do_without_pyav() -> None:
    code = "import sys; sys.modules['av'] = None; import segstream.bench, segstream.evaluate, segstream.cli.progress"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_memory_counts_what_a_row_touches() -> None:
    """In a process of its own: here memory that earlier tests gave back may be taken again, and adds nothing."""
    code = (
        "import torch; from segstream.bench import make_measured;"
        "print(make_measured(lambda: lambda: torch.ones(16_000_000))[1])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, timeout=120, capture_output=True, text=True)
    assert done.stdout.strip() == "None" or 50 < float(done.stdout) < 200


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"rounds": 0}, "rounds"),
        ({"shares": (1.2,)}, "shares"),
        ({"block": 100}, "block side"),
        ({"size": (4, 4)}, "size"),
    ],
)
def test_options_that_cannot_be_used(options: dict[str, object], what: str) -> None:
    with pytest.raises(UsageError, match=what):
        run_bench(UNTRAINED, device="cpu", **options)  # type: ignore[arg-type]


def test_large_inputs_are_cut_into_the_papers_blocks() -> None:
    report = run_bench(UNTRAINED, device="cpu", size=(1024, 512), shares=(0.41,), rounds=1, pipeline=False)
    (row,) = (row for row in report.rows if row.name.startswith("SegBlocks"))
    assert row.high_share == 14 / 32  # of 8 x 4 blocks of 128; of blocks of 64 it would be 53 / 128


@pytest.mark.parametrize("given", ["1, 0.4", [1, 0.4], ["1", "0.4"]])
def test_shares_may_be_a_list_in_a_file(given: object) -> None:
    assert _shares(given) == (1.0, 0.4)
