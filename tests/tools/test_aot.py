"""Checks of programs compiled for a GPU or a TPU: they find every violation, in small programs and HLO texts."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest
from aot import heads, hlo
from aot.cost import cost_of, max_temporaries, violations
from aot.program import Bounds
from aot.targets import Compiled, Placement

from dlcore.heads.data.batching import rows_at_once

ROWS, FEATURES = 4096, 16
BOUNDS = Bounds(passes=1, per_row=1, fixed=0)


def module(*lines: str, before: str = "") -> str:
    """Return the text of a compiled program that reads X and w, with these instructions."""
    parameters = (
        f"  %x = f32[{ROWS},{FEATURES}]{{1,0:T(8,128)}} parameter(0)",
        f"  %w = f32[{FEATURES}]{{0}} parameter(1)",
    )
    body = "\n".join((*parameters, *(f"  {line}" for line in lines)))
    return f"HloModule m\n\n{before}ENTRY %main (x: f32[], w: f32[]) -> f32[] {{\n{body}\n}}\n"


ONE_PASS = f"%z = f32[{ROWS}]{{0}} fusion(%x, %w), kind=kLoop, calls=%f"
SUM = "ROOT %total = f32[] fusion(%z), kind=kInput, calls=%g"


def violations_of(text: str, *, n_devices: int = 1, temporaries: int = 0, **reported: int) -> list[str]:
    """Return the violations of a program with this text."""
    compiled = Compiled(text, temporaries, None, **reported)
    return violations(cost_of(compiled, (ROWS, FEATURES), ROWS), BOUNDS, block=ROWS, n_devices=n_devices)


def test_a_program_within_its_bounds_has_no_violation():
    assert violations_of(module(ONE_PASS, SUM), temporaries=4 * ROWS, spills=0, tensor_cores=0) == []


def test_a_second_pass_is_found():
    again = f"ROOT %g = f32[{FEATURES}]{{0}} fusion(%x, %z), kind=kInput, calls=%h"
    assert violations_of(module(ONE_PASS, again)) == ["passes over X: at most 1, got 2"]


def test_what_reads_a_copy_of_x_is_a_pass_too():
    """Test a padded copy of X; a view of it is neither a read nor a copy."""
    copied = (
        f"%p = (f32[{ROWS + 16},{FEATURES}]{{1,0}}, f32[]) fusion(%x), kind=kLoop, calls=%f",
        "%q = f32[] get-tuple-element(%p), index=0",
        f"%b = f32[8,{ROWS // 8 + 2},{FEATURES}]{{2,1,0}} bitcast(%q)",
        f"ROOT %g = f32[{FEATURES}]{{0}} fusion(%b, %w), kind=kInput, calls=%h",
    )
    assert violations_of(module(*copied)) == ["passes over X: at most 1, got 2"]


def test_a_loop_over_blocks_is_one_pass_and_branches_count_as_the_longest():
    before = (
        f"%body (arg: (s32[], f32[{ROWS},{FEATURES}])) -> (s32[], f32[{ROWS},{FEATURES}]) {{\n"
        f"  %arg = (s32[], /*index=1*/f32[{ROWS},{FEATURES}]) parameter(0)\n"
        "  %i = s32[] get-tuple-element(%arg), index=0\n"
        f"  %same = f32[{ROWS},{FEATURES}] get-tuple-element(%arg), index=1\n"
        "  %next = s32[] fusion(%i, %same), kind=kLoop, calls=%f\n"
        f"  ROOT %out = (s32[], f32[{ROWS},{FEATURES}]) tuple(%next, %same)\n}}\n\n"
        "%condition (c: (s32[], f32[])) -> pred[] {\n"
        f"  %c = (s32[], f32[{ROWS},{FEATURES}]) parameter(0)\n  ROOT %yes = pred[] constant(true)\n}}\n\n"
        f"%left (l: f32[]) -> f32[] {{\n  %l = f32[{ROWS},{FEATURES}] parameter(0)\n"
        "  ROOT %r = f32[] fusion(%l), kind=kInput, calls=%f\n}\n\n"
        f"%right (n: f32[]) -> f32[] {{\n  %n = f32[{ROWS},{FEATURES}] parameter(0)\n"
        "  ROOT %z = f32[] constant(0)\n}\n\n"
    )
    text = module(
        "%zero = s32[] constant(0)",
        f"%start = (s32[], f32[{ROWS},{FEATURES}]) tuple(%zero, %x)",
        f"%end = (s32[], f32[{ROWS},{FEATURES}]) while(%start), condition=%condition, body=%body",
        f"%again = f32[{ROWS},{FEATURES}] get-tuple-element(%end), index=1",
        "%i = s32[] get-tuple-element(%end), index=0",
        "ROOT %b = f32[] conditional(%i, %again, %again), branch_computations={%left, %right}",
        before=before,
    )
    assert hlo.reads(hlo.parse(text), (ROWS, FEATURES), {ROWS}) == ["next", "r"]


def test_a_program_without_x_is_an_error():
    with pytest.raises(ValueError, match="expected a parameter of shape"):
        hlo.reads(hlo.parse(module(ONE_PASS, SUM)), (ROWS, FEATURES + 1), {ROWS})


REDUCED = "%a{0} = f32[] all-reduce(%z), channel_id={0}, to_apply=%add"


@pytest.mark.parametrize(("count", "devices"), [(0, 2), (2, 2), (1, 1)])
def test_a_wrong_number_of_all_reduces_is_found(count, devices):
    lines = [REDUCED.format(k) for k in range(count)]
    found = violations_of(module(ONE_PASS, *lines, SUM), n_devices=devices)
    assert found == [f"all-reduces: expected {int(devices > 1)}, got {count}"]


def test_an_asynchronous_all_reduce_counts_once():
    lines = ("%a = f32[] all-reduce-start(%z), channel_id=1", "%d = f32[] all-reduce-done(%a)")
    assert violations_of(module(ONE_PASS, *lines, SUM), n_devices=2) == []


def test_an_all_gather_of_rows_is_found():
    gathered = "%all = f32[99] all-gather(%z), dimensions={0}"
    assert violations_of(module(ONE_PASS, gathered, SUM)) == ["other collectives: at most 0, got 1"]


DOT = "%d = {}[8,8]{{1,0}} {}(%w, %w), lhs_contracting_dims={{0}}{}"
GEMM = (
    '%d = (f32[8,8]{1,0}, s8[99]) custom-call(%w, %w), custom_call_target="__cublas$gemm", '
    'backend_config={"precision_config":{"operand_precision":["DEFAULT","DEFAULT"],"algorithm":"ALG_UNSET"}}'
)


@pytest.mark.parametrize(
    ("line", "precision"),
    [
        (DOT.format("f32", "dot", ""), "default"),
        (DOT.format("bf16", "convolution", ", operand_precision={high,high}"), "high"),
        (
            DOT.format("f32", "dot", ", operand_precision={highest,highest}, algorithm=dot_tf32_tf32_f32"),
            "dot_tf32_tf32_f32",
        ),
        (GEMM, "default"),
    ],
)
def test_a_product_of_low_precision_is_found(line, precision):
    lines = violations_of(module(ONE_PASS, line, SUM))
    assert lines == [f"products: expected the highest precision, got {{'{precision}': 1}}"]


@pytest.mark.parametrize(
    "line",
    [
        DOT.format("f32", "convolution", ", operand_precision={highest,highest}"),
        DOT.format("f64", "dot", ""),
        DOT.format("s32", "dot", ""),
        GEMM.replace("DEFAULT", "HIGHEST"),
    ],
)
def test_a_product_of_highest_precision_is_allowed(line):
    assert violations_of(module(ONE_PASS, line, SUM)) == []


def test_tf32_and_spills_of_kernels_are_found():
    assert violations_of(module(ONE_PASS, SUM), tensor_cores=3, spills=16) == [
        "products: expected the highest precision, got {'tf32': 3}",
        "bytes of spilled registers: at most 0, got 16",
    ]


def compile_on_cpu(function, *arguments) -> Compiled:
    """Compile a function for the CPU."""
    compiled: Any = jax.jit(function).lower(*arguments).compile()
    return Compiled(compiled.as_text(), compiled.memory_analysis().temp_size_in_bytes, None)


def test_a_temporary_as_large_as_x_is_found():
    """Test the report of a real compiler: the sine of X is stored because it is used twice."""
    x, w = jnp.ones((ROWS, FEATURES), jnp.float32), jnp.ones(FEATURES, jnp.float32)

    def copied(x, w):
        sine = jax.lax.optimization_barrier(jnp.sin(x))
        return (sine * w[None]).sum(), sine.max()

    compiled = compile_on_cpu(copied, x, w)
    assert compiled.temporaries >= x.nbytes
    cost = cost_of(compiled, (ROWS, FEATURES), ROWS)
    lines = violations(cost, BOUNDS._replace(passes=9), block=ROWS, n_devices=1)
    assert lines == [f"bytes of temporaries: at most {4 * ROWS}, got {compiled.temporaries}"]


def test_the_precision_of_a_compiled_product_is_parsed():
    x, w = jnp.ones((ROWS, FEATURES), jnp.float32), jnp.ones((FEATURES, 8), jnp.float32)

    def text(precision):
        return compile_on_cpu(lambda x, w: jnp.matmul(x, w, precision=precision), x, w).text

    assert hlo.products(hlo.parse(text("highest"))) == {"highest": 1}
    assert hlo.products(hlo.parse(text(None))) == {"default": 1}


def test_the_bound_on_temporaries_grows_with_the_block():
    assert max_temporaries(Bounds(1, 2.5, fixed=100), 1000) == 10_100


def test_a_block_is_a_multiple_of_a_tile_on_an_accelerator():
    """A block may also have all rows; on a CPU the blocks are even."""
    x: Any = jax.ShapeDtypeStruct((1_000_000, 128), jnp.float32)
    assert rows_at_once(x, len(x), 2**22, 8 * 128) == 4082  # 245 of them
    with jax.default_device("tpu"):  # the name is enough: nothing is placed
        assert rows_at_once(x, len(x), 2**22, 8 * 128) == 123 * 2048
        assert rows_at_once(x, 1000, 2**22, 8 * 128) == 1000


@pytest.mark.parametrize("program", heads.PROGRAMS, ids=lambda program: program.name)
def test_a_program_of_fit_heads_is_lowered_with_the_arguments_that_it_takes(program):
    """Test the arguments alone: nothing is compiled, and the device is a CPU."""
    cpu = jax.devices("cpu")[0]
    with jax.enable_x64(program.wide), jax.default_device(cpu):
        lowered = program.lower(Placement("cpu", [cpu], None))
    text = lowered.lowered.as_text()
    assert "func.func public @main" in text
    rows, columns = lowered.x
    assert not rows or f"tensor<{rows}x{columns}xf32>" in text
    assert bool(rows) == bool(lowered.block)
