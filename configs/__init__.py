"""The shipped configs: one commented YAML an experiment. `recbayes ls` lists them, `recbayes cp NAME FILE` copies one."""
