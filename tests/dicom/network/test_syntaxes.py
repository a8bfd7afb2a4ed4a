"""What is negotiated is what the reader decodes."""

from __future__ import annotations

from pydicom.uid import ImplicitVRLittleEndian

from medkit.dicom.decoding import decoding_library
from medkit.dicom.extended_jpeg import EXTENDED
from medkit.dicom.network.syntaxes import COMPRESSED, NATIVE, PLAIN


def test_all_compressed_syntaxes_have_a_decoder_and_no_native_one():
    assert COMPRESSED
    assert all(decoding_library(syntax) for syntax in COMPRESSED)
    assert set(EXTENDED) <= set(COMPRESSED)
    assert not any(decoding_library(syntax) for syntax in NATIVE)


def test_none_is_named_twice_and_all_are_real():
    every = [*NATIVE, *COMPRESSED]
    assert len(set(every)) == len(every)
    assert all(syntax.is_transfer_syntax for syntax in every)
    assert ImplicitVRLittleEndian in PLAIN, "the standard asks for it"
    assert set(PLAIN) <= set(NATIVE)
