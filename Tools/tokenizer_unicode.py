"""Writes Sources/GlimText/UnicodeRanges.swift: the letters, numbers and white space of Hugging Face's regex engine.

Asked of the library itself, code point by code point, so that our scanners split as it does. Run with the
`tokenizers` package installed:

    python Tools/tokenizer_unicode.py > Sources/GlimText/UnicodeRanges.swift
"""

import textwrap

import tokenizers
from tokenizers import Regex, pre_tokenizers


def members(pattern):
    """The code points that `pattern` matches, as [start, end) ranges."""
    split = pre_tokenizers.Split(Regex(pattern), "removed")
    ranges = []
    for value in range(0x110000):
        if 0xD800 <= value < 0xE000 or split.pre_tokenize_str(chr(value)):
            continue
        if ranges and ranges[-1][1] == value:
            ranges[-1][1] = value + 1
        else:
            ranges.append([value, value + 1])
    return ranges


def literal(name, comment, pattern):
    numbers, last = [], 0
    for start, end in members(pattern):
        numbers += [start - last, end - start]
        last = end
    text = ", ".join(map(str, numbers)) + ","
    print(f"    /// {comment}")
    print(f"    static let {name}: [UInt32] = [")
    print(textwrap.indent("\n".join(textwrap.wrap(text, 112)), " " * 8))
    print("    ]")


print(f"// Made by Tools/tokenizer_unicode.py from tokenizers {tokenizers.__version__} (Unicode 16). Do not edit.\n")
print("/// Classes of code points, as alternating gaps and lengths: skip the gap, take the length, and so on.")
print("///")
print("/// Pinned rather than asked of the standard library, whose Unicode version depends on the toolchain: the ids of a")
print("/// text must not.")
print("enum UnicodeRanges {")
literal("letters", r"`\p{L}`", r"\p{L}")
print()
literal("numbers", r"`\p{N}`", r"\p{N}")
print()
literal("whiteSpace", r"`\s`", r"\s")
print("}")
