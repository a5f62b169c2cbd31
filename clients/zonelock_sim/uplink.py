"""The sim's agents on the real SDK: a stream each, or all of them on one fleet stream."""

from __future__ import annotations
