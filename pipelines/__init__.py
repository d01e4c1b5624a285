"""The stages of a run, each a short recipe over the library: a config in, files in the run folder out."""
