"""Which folders are packages: all of recbayes/, and the two top-level folders that ship inside it."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["recbayes", "recbayes.*"]), "recbayes.configs", "recbayes.pipelines"],
    package_dir={"recbayes": "recbayes", "recbayes.configs": "configs", "recbayes.pipelines": "pipelines"},
)
