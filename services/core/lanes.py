"""Operations on 64 voxels at a time, which Numba has no words for: LLVM makes them what the processor has.

A word is a uint64 with a bit for each of 64 consecutive values. Arrays are contiguous; places in them are not checked.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

_BYTES, _BITS = ir.VectorType(ir.IntType(8), 64), ir.VectorType(ir.IntType(1), 64)
_ALIGNMENT = ir.Constant(ir.IntType(32), 1)


def _popcount(typing, word):  # type: ignore[no-untyped-def]
    """Number of bits that are set."""
    return types.int64(types.uint64), lambda context, builder, signature, arguments: builder.ctpop(arguments[0])


def _lowest(typing, word):  # type: ignore[no-untyped-def]
    """Place of the lowest bit that is set in a word that is not 0."""
    undefined_for_0 = ir.Constant(ir.IntType(1), 1)
    return types.int64(types.uint64), lambda context, builder, signature, arguments: builder.cttz(
        arguments[0], undefined_for_0
    )


def _at_least(typing, values, first, limit):  # type: ignore[no-untyped-def]
    """The word of which 64 values, from place `first` on, are `limit` or more; of the array's dtype, unsigned."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        number = ir.IntType(values.dtype.bitwidth)
        pointer = _pointer(context, builder, signature, arguments, 0, 1)
        many = builder.load(builder.bitcast(pointer, ir.VectorType(number, 64).as_pointer()), align=number.width // 8)
        one = builder.insert_element(ir.Constant(many.type, ir.Undefined), arguments[2], ir.IntType(32)(0))
        limits = builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(ir.IntType(32), 64), [0] * 64))
        return builder.bitcast(builder.icmp_unsigned(">=", many, limits), ir.IntType(64))

    return types.uint64(values, types.intp, values.dtype), generate


def _move(typing, source, first, target, place):  # type: ignore[no-untyped-def]
    """Put 64 bytes, from place `first` of `source` on, into `target`."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        read = _pointer(context, builder, signature, arguments, 0, 1)
        write = _pointer(context, builder, signature, arguments, 2, 3)
        pointer = _BYTES.as_pointer()
        many = builder.load(builder.bitcast(read, pointer), align=1)
        builder.store(many, builder.bitcast(write, pointer), align=1)
        return context.get_dummy_value()

    return types.none(source, types.intp, target, types.intp), generate


def _squeeze(typing, source, first, word, target, place):  # type: ignore[no-untyped-def]
    """Put those of 64 bytes, from place `first` of `source` on, whose bit is set into `target` one after the other.

    The word is not 0.
    """

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        read = _pointer(context, builder, signature, arguments, 0, 1)
        write = _pointer(context, builder, signature, arguments, 3, 4)
        mask = builder.bitcast(arguments[2], _BITS)
        pointer = _BYTES.as_pointer()
        load = ir.FunctionType(_BYTES, [pointer, _ALIGNMENT.type, _BITS, _BYTES])
        zeros = ir.Constant(_BYTES, [0] * 64)
        # Bytes whose bit is not set may lie behind the array's end.
        values = builder.call(
            _intrinsic(builder, load, "llvm.masked.load.v64i8.p0"),
            [builder.bitcast(read, pointer), _ALIGNMENT, mask, zeros],
        )
        # Two steps: processors that squeeze quickly in a register may take forty times as long straight into memory.
        compress = ir.FunctionType(_BYTES, [_BYTES, _BITS, _BYTES])
        squeezed = builder.call(
            _intrinsic(builder, compress, "llvm.experimental.vector.compress.v64i8"), [values, mask, zeros]
        )
        spare = builder.sub(ir.IntType(64)(64), builder.ctpop(arguments[2]))
        lowest_bits = builder.bitcast(builder.lshr(ir.IntType(64)(-1), spare), _BITS)
        store = ir.FunctionType(ir.VoidType(), [_BYTES, pointer, _ALIGNMENT.type, _BITS])
        builder.call(
            _intrinsic(builder, store, "llvm.masked.store.v64i8.p0"),
            [squeezed, builder.bitcast(write, pointer), _ALIGNMENT, lowest_bits],
        )
        return context.get_dummy_value()

    return types.none(source, types.intp, types.uint64, target, types.intp), generate


def _scatter(typing, source, first, word, target, place):  # type: ignore[no-untyped-def]
    """Put bytes, from place `first` of `source` on, to those of 64 places of `target` whose bit is set."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        read = _pointer(context, builder, signature, arguments, 0, 1)
        write = _pointer(context, builder, signature, arguments, 3, 4)
        mask = builder.bitcast(arguments[2], _BITS)
        pointer = _BYTES.as_pointer()
        load = ir.FunctionType(_BYTES, [read.type, _BITS, _BYTES])
        values = builder.call(
            _intrinsic(builder, load, "llvm.masked.expandload.v64i8"), [read, mask, ir.Constant(_BYTES, [0] * 64)]
        )
        store = ir.FunctionType(ir.VoidType(), [_BYTES, pointer, _ALIGNMENT.type, _BITS])
        builder.call(
            _intrinsic(builder, store, "llvm.masked.store.v64i8.p0"),
            [values, builder.bitcast(write, pointer), _ALIGNMENT, mask],
        )
        return context.get_dummy_value()

    return types.none(source, types.intp, types.uint64, target, types.intp), generate


def _pointer(context: Any, builder: Any, signature: Any, arguments: Any, array: int, place: int) -> Any:
    """Of argument number `place` in the array that is argument number `array`."""
    data = context.make_array(signature.args[array])(context, builder, arguments[array]).data
    return builder.gep(data, [arguments[place]])


def _intrinsic(builder: Any, kind: Any, name: str) -> Any:
    return cgutils.get_or_insert_function(builder.module, kind, name)  # type: ignore[no-untyped-call]


popcount: Any = intrinsic(_popcount)
lowest: Any = intrinsic(_lowest)
at_least: Any = intrinsic(_at_least)
move: Any = intrinsic(_move)
squeeze: Any = intrinsic(_squeeze)
scatter: Any = intrinsic(_scatter)


@njit(nogil=True, cache=True)
def highest(values):  # type: ignore[no-untyped-def]
    """The largest of uint8 values."""
    high = np.uint8(0)
    for v in range(len(values)):
        high = values[v] if values[v] > high else high
    return high
