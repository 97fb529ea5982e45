"""The commands of `lexchange`, a module each: `add_parser` names its options, `run` does it."""
