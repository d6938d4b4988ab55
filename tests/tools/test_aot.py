"""What judges programs that were compiled for a GPU or a TPU sees what is wrong, on small programs and texts."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest
from aot import hlo
from aot.judging import cost_of, faults, most_temporaries
from aot.program import Bounds
from aot.targets import Compiled

from dlcore.heads.packing import rows_at_once

ROWS, FEATURES = 4096, 16
BOUNDS = Bounds(passes=1, per_row=1, fixed=0)


def module(*lines: str, before: str = "") -> str:
    """A compiled program that reads X and w, and what it does with them."""
    given = (
        f"  %x = f32[{ROWS},{FEATURES}]{{1,0:T(8,128)}} parameter(0)",
        f"  %w = f32[{FEATURES}]{{0}} parameter(1)",
    )
    body = "\n".join((*given, *(f"  {line}" for line in lines)))
    return f"HloModule m\n\n{before}ENTRY %main (x: f32[], w: f32[]) -> f32[] {{\n{body}\n}}\n"


ONE_PASS = f"%z = f32[{ROWS}]{{0}} fusion(%x, %w), kind=kLoop, calls=%f"
SUM = "ROOT %total = f32[] fusion(%z), kind=kInput, calls=%g"


def judged(text: str, *, devices: int = 1, temporaries: int = 0, **told: int) -> list[str]:
    """What is found of a text."""
    compiled = Compiled(text, temporaries, None, **told)
    return faults(cost_of(compiled, (ROWS, FEATURES), ROWS), BOUNDS, block=ROWS, devices=devices)


def test_a_program_within_its_bounds_has_no_fault():
    assert judged(module(ONE_PASS, SUM), temporaries=4 * ROWS, spills=0, tensor_cores=0) == []


def test_a_second_pass_is_found():
    again = f"ROOT %g = f32[{FEATURES}]{{0}} fusion(%x, %z), kind=kInput, calls=%h"
    assert judged(module(ONE_PASS, again)) == ["passes over X: at most 1, got 2"]


def test_what_reads_a_copy_of_x_is_a_pass_too():
    """Padded, or in another dtype; a view is neither read nor copied."""
    copied = (
        f"%p = (f32[{ROWS + 16},{FEATURES}]{{1,0}}, f32[]) fusion(%x), kind=kLoop, calls=%f",
        "%q = f32[] get-tuple-element(%p), index=0",
        f"%b = f32[8,{ROWS // 8 + 2},{FEATURES}]{{2,1,0}} bitcast(%q)",
        f"ROOT %g = f32[{FEATURES}]{{0}} fusion(%b, %w), kind=kInput, calls=%h",
    )
    assert judged(module(*copied)) == ["passes over X: at most 1, got 2"]


def test_a_loop_over_blocks_is_one_pass_and_branches_count_as_the_longest():
    before = (
        f"%body (arg: (s32[], f32[{ROWS},{FEATURES}])) -> (s32[], f32[{ROWS},{FEATURES}]) {{\n"
        f"  %arg = (s32[], /*index=1*/f32[{ROWS},{FEATURES}]) parameter(0)\n"
        "  %i = s32[] get-tuple-element(%arg), index=0\n"
        f"  %own = f32[{ROWS},{FEATURES}] get-tuple-element(%arg), index=1\n"
        "  %next = s32[] fusion(%i, %own), kind=kLoop, calls=%f\n"
        f"  ROOT %out = (s32[], f32[{ROWS},{FEATURES}]) tuple(%next, %own)\n}}\n\n"
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
        f"%same = f32[{ROWS},{FEATURES}] get-tuple-element(%end), index=1",
        "%i = s32[] get-tuple-element(%end), index=0",
        "ROOT %b = f32[] conditional(%i, %same, %same), branch_computations={%left, %right}",
        before=before,
    )
    assert hlo.reads(hlo.parse(text), (ROWS, FEATURES), {ROWS}) == ["next", "r"]


def test_x_must_be_there():
    with pytest.raises(ValueError, match="expected a parameter of shape"):
        hlo.reads(hlo.parse(module(ONE_PASS, SUM)), (ROWS, FEATURES + 1), {ROWS})


REDUCED = "%a{0} = f32[] all-reduce(%z), channel_id={0}, to_apply=%add"


@pytest.mark.parametrize(("count", "devices"), [(0, 2), (2, 2), (1, 1)])
def test_too_many_all_reduces_or_none_are_found(count, devices):
    lines = [REDUCED.format(k) for k in range(count)]
    found = judged(module(ONE_PASS, *lines, SUM), devices=devices)
    assert found == [f"all-reduces: expected {int(devices > 1)}, got {count}"]


def test_one_all_reduce_that_starts_and_ends_apart_is_one():
    lines = ("%a = f32[] all-reduce-start(%z), channel_id=1", "%d = f32[] all-reduce-done(%a)")
    assert judged(module(ONE_PASS, *lines, SUM), devices=2) == []


def test_rows_that_are_gathered_are_found():
    gathered = "%all = f32[99] all-gather(%z), dimensions={0}"
    assert judged(module(ONE_PASS, gathered, SUM)) == ["other collectives: at most 0, got 1"]


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
def test_a_product_that_may_be_rounded_is_found(line, precision):
    found = judged(module(ONE_PASS, line, SUM))
    assert found == [f"products: expected the highest precision, got {{'{precision}': 1}}"]


@pytest.mark.parametrize(
    "line",
    [
        DOT.format("f32", "convolution", ", operand_precision={highest,highest}"),
        DOT.format("f64", "dot", ""),
        DOT.format("s32", "dot", ""),
        GEMM.replace("DEFAULT", "HIGHEST"),
    ],
)
def test_a_product_that_rounds_nothing_away_is_not(line):
    assert judged(module(ONE_PASS, line, SUM)) == []


def test_kernels_are_asked_for_tf32_and_spills():
    assert judged(module(ONE_PASS, SUM), tensor_cores=3, spills=16) == [
        "products: expected the highest precision, got {'tf32': 3}",
        "bytes of spilled registers: at most 0, got 16",
    ]


def compiled_here(function, *arguments) -> Compiled:
    """By the CPU's compiler."""
    compiled: Any = jax.jit(function).lower(*arguments).compile()
    return Compiled(compiled.as_text(), compiled.memory_analysis().temp_size_in_bytes, None)


def test_a_temporary_as_large_as_x_is_found():
    """As a compiler really reports it: the sine of X, twice used, is kept."""
    x, w = jnp.ones((ROWS, FEATURES), jnp.float32), jnp.ones(FEATURES, jnp.float32)

    def copied(x, w):
        kept = jax.lax.optimization_barrier(jnp.sin(x))
        return (kept * w[None]).sum(), kept.max()

    compiled = compiled_here(copied, x, w)
    assert compiled.temporaries >= x.nbytes
    found = faults(cost_of(compiled, (ROWS, FEATURES), ROWS), BOUNDS._replace(passes=9), block=ROWS, devices=1)
    assert found == [f"bytes of temporaries: at most {4 * ROWS}, got {compiled.temporaries}"]


def test_a_product_as_a_compiler_writes_it_is_read():
    x, w = jnp.ones((ROWS, FEATURES), jnp.float32), jnp.ones((FEATURES, 8), jnp.float32)

    def multiplied(precision):
        return compiled_here(lambda x, w: jnp.matmul(x, w, precision=precision), x, w).text

    assert hlo.products(hlo.parse(multiplied("highest"))) == {"highest": 1}
    assert hlo.products(hlo.parse(multiplied(None))) == {"default": 1}


def test_bounds_grow_with_the_rows():
    assert most_temporaries(Bounds(1, 2.5, fixed=100), 1000) == 10_100


def test_on_an_accelerator_a_block_is_whole_tiles():
    """Or all rows; on a CPU blocks are even."""
    x: Any = jax.ShapeDtypeStruct((1_000_000, 128), jnp.float32)
    assert rows_at_once(x, len(x), 2**22, 8 * 128) == 4082  # 245 of them
    with jax.default_device("tpu"):  # the name is enough: nothing is placed
        assert rows_at_once(x, len(x), 2**22, 8 * 128) == 123 * 2048
        assert rows_at_once(x, 1000, 2**22, 8 * 128) == 1000
