"""The config: what a run's YAML may say, one line of help a field, every fault found at once.

Sections are frozen pydantic models that forbid what they don't know. A section `{kind: NAME, ...}` is held against the function of
that name in its room (recbayes.plugins), and may be written as the bare NAME. Only the command line and the pipelines read configs:
the library takes arguments.

>>> config = parse({"log": {"path": "example:upworthy", "columns": {"clicks": "clicks"}}, "posterior": "mle"}, ["train.epochs=3"])
>>> config.train.epochs, config.posterior.kind
(3, 'mle')
>>> parse({"log": {"path": "example:upworthy", "columns": {"clicks": "clicks"}}, "trian": {}})
Traceback (most recent call last):
    ...
recbayes.types.UserError: 1 fault in the config:
  trian: unknown key. Did you mean train? Known: audit, calibration, ...
"""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from recbayes import plugins
from recbayes.configs import source
from recbayes.types import UserError


class Section(BaseModel):
    """One mapping of the YAML."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Plugin(Section):
    """A section `{kind: NAME, **settings}`; the settings are those of the function NAME in `room`."""

    model_config = ConfigDict(frozen=True, extra="allow", protected_namespaces=())
    room: ClassVar[str]
    supplied: ClassVar[frozenset[str]] = frozenset()

    kind: str = Field(description="which of the room's functions")

    @model_validator(mode="before")
    @classmethod
    def _bare_name(cls, data: Any) -> Any:
        return {"kind": data} if isinstance(data, str) else data

    @model_validator(mode="after")
    def _settings_fit(self) -> Self:
        taken = self.supplied | set(type(self).model_fields)
        found = plugins.faults(self.room, self.kind, self.settings, taken)
        if found:
            raise PydanticCustomError("plugin", "settings do not fit", {"faults": found})
        known = plugins.settings(self.room, self.kind)
        assert self.__pydantic_extra__ is not None
        for name, setting in known.items():
            if name not in taken and setting.default is not ...:
                self.__pydantic_extra__.setdefault(name, setting.default)
        return self

    @property
    def settings(self) -> dict[str, Any]:
        """Keyword arguments of the function, defaults filled in."""
        return dict(self.__pydantic_extra__ or {})

    def build(self, *given: Any, **named: Any) -> Any:
        """The function called with these settings, and with what the caller supplies."""
        return plugins.build(self.room, self.kind, *given, **{**self.settings, **named})


class Runtime(Section):
    """Where it runs."""

    device: Literal["auto", "cpu", "gpu"] = Field("auto", description="auto takes a GPU if there is one; gpu fails without one")
    replica_chunk: Literal["auto"] | int = Field("auto", description="replicas simulated at once: more is faster and takes more memory")
    engine: Literal["local", "ray"] = Field("local", description="where chunks and posteriors run; ray spreads them, with the same results")
    address: str | None = Field(None, description="HOST:PORT of a Ray cluster's head, or auto; left out: a cluster of this machine alone")

    @field_validator("replica_chunk")
    @classmethod
    def _positive(cls, value: str | int) -> str | int:
        if isinstance(value, int) and value < 1:
            raise ValueError("must be at least 1")
        return value


class Columns(Section):
    """Which column of the log plays which role (design: the log)."""

    clicks: str | None = Field(None, description="clicks of a row, a count or 0/1")
    impressions: str | None = Field(None, description="how often the row was shown; left out: a row is one impression")
    reward: str | None = Field(None, description="a number instead of clicks")
    item: str | None = Field(None, description="what was shown")
    group: str | None = Field(None, description="rows that compete: an experiment, a page, a request")
    cluster: str | None = Field(None, description="rows that stay together in splits and bootstraps; left out: the group")
    time: str | None = Field(None, description="order of rows, for splits and replay")
    propensity: str | None = Field(None, description="probability with which the logging policy showed this item, in (0, 1]")
    position: str | None = Field(None, description="slot shown in")
    candidates: str | None = Field(None, description="list column of what could have been shown")


class Split(Section):
    """How test rows are set aside; groups are never cut."""

    by: Literal["time", "group", "connected", "random"] = Field(
        "time", description="newest groups, random groups, groups joined by ids, or rows"
    )
    test_fraction: float = Field(0.2, gt=0, lt=1, description="share of the groups")
    follow: tuple[str, ...] = Field((), description="connected: columns whose shared values keep groups on one side")


class LogSection(Section):
    """The click log and the roles of its columns."""

    path: str = Field(description="Parquet file, folder or glob, or example:upworthy, example:open_bandit")
    test_path: str | None = Field(None, description="a separate test log; replaces the split")
    stream: bool = Field(
        False, description="train on log.path without holding it in memory; needs test_path, and all else sees some random row groups"
    )
    columns: Columns = Field(description="roles")
    split: Split = Field(Split(), description="training and test rows")
    reward_range: tuple[float, float] | None = Field(None, description="smallest and largest value that a reward can take")
    on_bad_rows: Literal["fail", "quarantine"] = Field("fail", description="stop, or set bad rows aside in the run folder and say how many")

    @model_validator(mode="after")
    def _can_stream(self) -> Self:
        wanting = {
            "test_path": "a log that stays on disk is not split: name a separate test log" if self.test_path is None else None,
            "on_bad_rows": "a stream stops at a bad row; set bad rows aside with rb.aggregate" if self.on_bad_rows != "fail" else None,
        }
        found = [(name, f"{mend} (log.stream is true)") for name, mend in wanting.items() if mend]
        if self.stream and found:
            raise PydanticCustomError("plugin", "cannot stream", {"faults": found})
        return self


class Audit(Section):
    """What the later stages take from the audit."""

    accept: tuple[str, ...] = Field((), description="checks whose failure you have looked at and accept, such as leaks")


class Feature(Plugin):
    """A column that the model sees."""

    room: ClassVar[str] = "features:Feature"

    name: str = Field(description="the log's column")
    side: Literal["item", "context"] = Field("item", description="item: what is shown; context: to whom and when")

    def build(self, *given: Any, **named: Any) -> Any:
        """The feature as the library's own."""
        return super().build(self.name, *given, side=self.side, **named)


class Model(Plugin):
    """The network."""

    room: ClassVar[str] = "models:Builder"


class Density(Plugin):
    """The distribution of one row's click rate."""

    room: ClassVar[str] = "densities:Family"

    group_effect: Literal[False] | str | None = Field(
        None, description="column of the shared page effect, or false; left out: the group column"
    )


class Posterior(Plugin):
    """The method for the model's own doubt."""

    room: ClassVar[str] = "posteriors:Posterior"


class Train(Section):
    """The training loop."""

    epochs: int = Field(20, ge=1, description="at most; it stops early on groups set aside from the training log")
    batch_size: int = Field(512, ge=1, description="rows a step")
    learning_rate: float = Field(0.01, gt=0, description="Adam's at the start; it falls along half a cosine")
    patience: int = Field(8, ge=1, description="epochs without a better held-out log likelihood before it stops")
    held_out: float = Field(
        0.1, ge=0, lt=1, description="newest share of the training groups that says how many epochs are enough; 0: all of them"
    )
    oov_share: float = Field(0.1, ge=0, le=1, description="share of the groups trained on once more with categories hidden")
    negative_share: float = Field(
        1.0, gt=0, le=1, description="share of the groups (rows) without a click that an epoch trains on; they count for those left out"
    )
    checkpoint_steps: int = Field(1000, ge=1, description="steps between two checkpoints within an epoch")
    workers: int = Field(
        1,
        ge=1,
        description="processes on CPUs that share steps, an ensemble's members, nuts' chains (from 1,000 rows on); 1: this one",
    )
    recalibrate: bool = Field(
        False, description="fit a monotone map of the predictive law to the held-out groups; intervals then follow it"
    )


class Calibration(Section):
    """What the train stage looks at on the test rows."""

    by: tuple[str, ...] | None = Field(None, description="columns in whose parts coverage is counted; left out: the categorical features")


class Findings(Section):
    """What the model is asked beyond its figures, for the report."""

    leave_out: bool = Field(False, description="train again without half of the rare values: two short trainings a categorical feature")
    rare: int = Field(2, ge=1, description="leave_out: a value is rare if it stands in at most so many training rows")
    epochs: int = Field(3, ge=1, description="leave_out: passes over the rows")


class World(Plugin):
    """What can be shown and what comes back in replay."""

    room: ClassVar[str] = "replay:World"
    supplied: ClassVar[frozenset[str]] = frozenset({"log", "fitted"})

    @property
    def of_model(self) -> bool:
        """Whether it is built from the trained network."""
        return "fitted" in plugins.settings(self.room, self.kind)

    @property
    def of_log(self) -> bool:
        """Whether it is built from the log."""
        return "log" in plugins.settings(self.room, self.kind)

    def build(self, *given: Any, **named: Any) -> Any:
        """The world of a log; the caller's `distinct` (columns in which arms differ) where it takes one and the config names none."""
        if self.settings.get("distinct", ...) is not None:
            named.pop("distinct", None)
        return super().build(*given, **named)


class Learner(Plugin):
    """What takes feedback in replay."""

    room: ClassVar[str] = "replay:Learner"
    supplied: ClassVar[frozenset[str]] = frozenset({"fitted", "log", "fit", "seed"})

    @property
    def of_model(self) -> bool:
        """Whether it starts from the trained network."""
        return "fitted" in plugins.settings(self.room, self.kind)

    @property
    def of_log(self) -> bool:
        """Whether it may look at the training log."""
        return "log" in plugins.settings(self.room, self.kind)

    @property
    def of_fit(self) -> bool:
        """Whether it fits the model again."""
        return "fit" in plugins.settings(self.room, self.kind)

    @property
    def of_seed(self) -> bool:
        """Whether it draws random numbers of its own."""
        return "seed" in plugins.settings(self.room, self.kind)


class Policy(Plugin):
    """A policy over a learner."""

    room: ClassVar[str] = "policies:Policy"

    learner: Learner | None = Field(None, description="counts, density, or a mapping with its settings; left out: density")
    name: str = Field("", description="left out: learner and policy joined, as density/thompson")

    @property
    def members(self) -> list[Policy]:
        """A grid of explorations as one policy a value, named as the library names them; of any other policy itself."""
        scales = self.settings.get("exploration")
        if not isinstance(scales, list | tuple):
            return [self]
        one = {**self.settings, "kind": self.kind, "learner": self.learner}
        return [Policy(**{**one, "exploration": float(scale), "name": f"{self.name}@{scale:g}"}) for scale in scales]

    @model_validator(mode="after")
    def _learner_and_name(self) -> Self:
        takes = "learner" in plugins.settings(self.room, self.kind)
        if self.learner is not None and not takes:
            raise PydanticCustomError("plugin", "no learner", {"faults": [("learner", f"{self.kind} learns nothing: leave learner out")]})
        learner = self.learner or (Learner(kind="density") if takes else None)
        object.__setattr__(self, "learner", learner)
        object.__setattr__(self, "name", self.name or (f"{learner.kind}/{self.kind}" if learner else self.kind))
        return self


FAMILY: tuple[dict[str, Any], ...] = (
    {"kind": "greedy"},
    {"kind": "ucb", "exploration": [0.25, 0.5, 1.0, 2.0]},
    {"kind": "thompson", "exploration": [0.1, 0.25, 0.5, 1.0]},
    {"kind": "knowledge_gradient", "exploration": [0.5, 1.0]},
)
"""What `policies: auto` tries: as `recbayes.replay.policy_family`; over `linear`, those that take any reward."""
OF_RATES = frozenset({"knowledge_gradient"})
"""Of these, policies that reckon with click rates."""


class Plan(Section):
    """The cost planner, for the chosen policy."""

    updates_a_day: float | None = Field(None, gt=0, description="updates of the replay in a day, to say costs by day; left out: by step")
    delays: tuple[int | dict[str, Any], ...] = Field(
        (), description="delays (steps, or {kind: geometric, mean: 3}) to play the chosen policy and greedy with too"
    )
    horizons: tuple[float, ...] = Field((), description="horizons to play them over too, in the world's own measure")
    seeds: int = Field(5, ge=2, description="replicas of each of these")


def _baselines(policies: Sequence[Policy]) -> Iterator[Policy]:
    """What a policy is judged by, where it is missing: uniform, and greedy over each learner."""
    if all(policy.kind != "uniform" for policy in policies):
        yield Policy(kind="uniform")
    names, there = {policy.name for policy in policies}, [policy.learner for policy in policies if policy.kind == "greedy"]
    for policy in policies:
        if policy.learner is not None and policy.learner not in there:
            there.append(policy.learner)
            best = Policy.model_validate({"kind": "greedy", "learner": policy.learner})
            yield best if best.name not in names else Policy.model_validate({**best.model_dump(), "name": f"{policy.name}~greedy"})


class Simulate(Section):
    """Replay of policies over the test log."""

    world: World = Field(description="what can be shown and what comes back")
    seeds: int = Field(20, ge=2, description="replicas of each policy")
    choose_fraction: float = Field(0.2, gt=0, lt=1, description="newest share of the training groups on which the policy is chosen")
    choose_seeds: int = Field(8, ge=1, description="replicas of each policy there, at most `seeds`: groups differ more than replicas do")
    policies: tuple[Policy, ...] = Field(
        description="auto, or a list; exploration: [0.5, 1, 2] is three policies; uniform and each learner's greedy are added"
    )
    choose: Literal["all", "halving"] = Field(
        "all", description="all: every policy in all replicas; halving: the better half in twice as many; policies: auto means halving"
    )
    plan: Plan = Field(Plan(), description="what exploring costs, and when it pays back")
    controls: Literal["chosen", "all"] = Field(
        "chosen", description="policies that are held against themselves with the uncertainty shuffled: the chosen one, or each"
    )

    @field_validator("policies")
    @classmethod
    def _names_differ(cls, given: tuple[Policy, ...]) -> tuple[Policy, ...]:
        if empty := [policy.name for policy in given if not policy.members]:
            raise ValueError(f"{empty[0]}: exploration is an empty list: give one number, or some to try each")
        policies = tuple(one for policy in given for one in policy.members)
        policies += tuple(_baselines(policies)) if policies else ()
        clashes = [name for name, times in Counter(policy.name for policy in policies).items() if times > 1]
        if not policies:
            raise ValueError("no policy to replay: name some, such as [uniform, {kind: ucb}]")
        if clashes:
            raise ValueError(f"several policies are named {', '.join(clashes)}: give each a name of its own (name: ...)")
        return policies


def _no_grid(value: str | Policy) -> str | Policy:
    """A policy that is to choose, which a grid of explorations cannot."""
    if isinstance(value, Policy) and value.members != [value]:
        raise ValueError(f"exploration is a grid of {len(value.members)}, and one choice needs one number")
    return value


PolicyOrName = Annotated[
    Annotated[str, Tag("str")] | Annotated[Policy, Tag("Policy")],
    Discriminator(lambda value: "str" if isinstance(value, str) else "Policy"),
    AfterValidator(_no_grid),
]


class Target(Plugin):
    """A policy to evaluate: a table of probabilities, the log's own, or one of the run as its export decides."""

    room: ClassVar[str] = "evaluation:Target"
    supplied: ClassVar[frozenset[str]] = frozenset({"folder"})

    name: str = Field("", description="left out: the table's file, the exported policy's name, or logged")
    policy: PolicyOrName | None = Field(None, description="exported: chosen, a simulated policy's name, or {kind: ...} over the density")

    @model_validator(mode="after")
    def _name(self) -> Self:
        if self.policy is not None and self.kind != "exported":
            fault = ("policy", f"{self.kind} takes none: it is for kind exported")
            raise PydanticCustomError("plugin", "no policy", {"faults": [fault]})
        if self.kind == "exported":
            policy = self.policy or "chosen"
            object.__setattr__(self, "policy", policy)
            object.__setattr__(self, "name", self.name or (policy if isinstance(policy, str) else policy.name))
        elif not self.name:
            path = str(self.settings.get("path", ""))
            object.__setattr__(self, "name", PurePath(path.removeprefix("example:")).stem or self.kind)
        return self


class Estimator(Plugin):
    """An off-policy estimator."""

    room: ClassVar[str] = "evaluation.estimators:Estimator"


class Evaluate(Section):
    """Policies judged from the log's propensities."""

    policies: tuple[Target, ...] = Field(description="{kind: table, path: FILE}, logged, {kind: exported, policy: NAME}")
    estimators: tuple[Estimator, ...] = Field(
        default_factory=lambda: tuple(Estimator(kind=kind) for kind in ("ips", "snips", "dm", "dr")),
        description="names or mappings with a setting; the last but dm ranks the policies",
    )
    rows: Literal["auto", "all", "test"] = Field("auto", description="auto: the test rows if a policy was learnt from the others, else all")
    reward_model: Literal["rates", "fitted"] = Field(
        "rates", description="q of dm, dr: items' shrunk rates, or the config's model, cross-fitted"
    )
    folds: int = Field(10, ge=2, description="of the cross-fitting, by cluster")
    level: float = Field(0.95, gt=0, lt=1, description="of the intervals")
    interval: Literal["auto", "normal", "bootstrap", "bernstein"] = Field("auto", description="auto: the bootstrap unless the log is large")
    propensities: Literal["auto", "logged", "fitted"] = Field("auto", description="auto: fitted where the log has none, and marked so")
    given: tuple[str, ...] = Field((), description="columns that the logging policy may have looked at, for fitted propensities")
    decision: str | None = Field(None, description="column that tells decisions apart: no two rows share it (and the position)")

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        for what, names in (("policies", [p.name for p in self.policies]), ("estimators", [e.kind for e in self.estimators])):
            clashes = [name for name, times in Counter(names).items() if times > 1]
            if not names:
                raise ValueError(f"no {what}: name some")
            if clashes:
                raise ValueError(f"several {what} are named {', '.join(clashes)}: give each a name of its own, or leave one out")
        return self


class Export(Section):
    """The SavedModel's policy."""

    policy: PolicyOrName = Field("chosen", description="chosen, a simulated policy's name, or {kind: ...} over the density")
    floor: float = Field(0.01, ge=0, lt=1, description="least share of a uniform choice, so that logged decisions can be evaluated later")
    slate: int | None = Field(None, ge=1, description="positions of a page: adds a signature that fills them, no candidate twice")


class Contender(Posterior):
    """A posterior that is compared, under a name of its own."""

    name: str = Field("", description="left out: the kind")

    @model_validator(mode="after")
    def _named(self) -> Self:
        object.__setattr__(self, "name", self.name or self.kind)
        return self


class Small(Section):
    """A problem on which every posterior can be held against NUTS: few weights, few rows, fitted to the end."""

    features: tuple[Feature, ...] = Field(description="what the small model sees: columns of the log")
    model: Model = Field(default_factory=lambda: Model(kind="linear"), description="the network; NUTS takes up to 1,000 weights")
    density: Density = Field(
        default_factory=lambda: Density(kind="beta_mixture", components=1, group_effect=False),
        description="distribution of a row's click rate",
    )
    train: Train = Field(
        Train(epochs=100, batch_size=128, held_out=0.0, oov_share=0.0), description="the training loop: all epochs, nothing set aside"
    )
    groups: int = Field(300, ge=1, description="newest training groups that it learns from; rows without a group count one each")


class Compare(Section):
    """Posteriors held against each other on the same rows and the same network."""

    posteriors: tuple[Contender, ...] = Field((), description="methods to compare; left out: every kind there is")
    small: Small | None = Field(None, description="the problem that distances to NUTS are of; left out: the config's own")
    policies: tuple[str, ...] = Field((), description="names of simulated policies to replay with each posterior; left out: no replay")
    seeds: int = Field(4, ge=2, description="replicas of each of these policies")

    @field_validator("posteriors")
    @classmethod
    def _names_differ(cls, posteriors: tuple[Contender, ...]) -> tuple[Contender, ...]:
        clashes = [name for name, times in Counter(contender.name for contender in posteriors).items() if times > 1]
        if clashes:
            raise ValueError(f"several posteriors are named {', '.join(clashes)}: give each a name of its own (name: ...)")
        return posteriors

    def contenders(self) -> tuple[Contender, ...]:
        """The posteriors to compare."""
        return self.posteriors or tuple(Contender(kind=kind) for kind in plugins.kinds(Posterior.room))


class Config(Section):
    """A whole run."""

    seed: int = Field(0, ge=0, lt=2**31, description="of every random number")
    runtime: Runtime = Field(Runtime(), description="device, memory and engine")
    log: LogSection = Field(LogSection(path="", columns=Columns()), description="the click log; test beds alone need none")
    audit: Audit = Field(Audit(), description="which of its failures are accepted")
    features: tuple[Feature, ...] = Field((), description="what the model sees; needed to train")
    model: Model = Field(default_factory=lambda: Model(kind="ddn"), description="the network")
    density: Density = Field(default_factory=lambda: Density(kind="beta_mixture"), description="distribution of a row's click rate")
    posterior: Posterior = Field(default_factory=lambda: Posterior(kind="last_layer"), description="the model's own doubt")
    train: Train = Field(Train(), description="the training loop")
    calibration: Calibration = Field(Calibration(), description="figures on the test rows")
    findings: Findings = Field(Findings(), description="what the uncertainty says to do")
    simulate: Simulate | None = Field(None, description="replay; left out: no simulation")
    compare: Compare | None = Field(None, description="posteriors held against each other; left out: no comparison")
    evaluate: Evaluate | None = Field(None, description="policies judged from logged propensities; left out: none")
    export: Export | None = Field(None, description="the SavedModel; left out: none")

    @model_validator(mode="before")
    @classmethod
    def _auto(cls, data: Any) -> Any:
        """`simulate.policies: auto` as the family over the model, or over counts where there are no features to make one of.

        Over `linear` where decisions come one by one: on a test bed, and in the worlds of logged events.
        """
        simulate = data.get("simulate") if isinstance(data, dict) else None
        if not (isinstance(simulate, dict) and simulate.get("policies") == "auto"):
            return data
        world, family = simulate.get("world"), FAMILY
        learner = {"kind": "density"} if data.get("features") else {"kind": "counts", "prior": "page"}
        if _one_by_one(world.get("kind") if isinstance(world, dict) else world):
            learner, family = {"kind": "linear"}, tuple(policy for policy in FAMILY if policy["kind"] not in OF_RATES)
        tried = [{"kind": "uniform"}, *({**policy, "learner": learner} for policy in family)]
        return {**data, "simulate": {"choose": "halving", **simulate, "policies": tried}}

    @model_validator(mode="after")
    def _log_is_there(self) -> Self:
        alone = (
            self.simulate is not None
            and not self.simulate.world.of_log
            and not any((self.features, self.compare, self.evaluate, self.export))
        )
        if not (self.log.path or alone):
            raise PydanticCustomError("plugin", "no log", {"faults": [("log", "missing, and it has no default")]})
        if not self.log.path and self.simulate is not None:
            found = [
                (f"simulate.policies.{place}.learner", f"{policy.learner.kind} starts from the trained network, which needs a log")
                for place, policy in enumerate(self.simulate.policies)
                if policy.learner is not None and policy.learner.of_model
                if policy.learner not in [before.learner for before in self.simulate.policies[:place]]  # greedy is added over each learner
            ]
            if found:
                raise PydanticCustomError("plugin", "no log", {"faults": found})
        return self


def _one_by_one(kind: Any) -> bool:
    """Whether a world of that kind takes decisions one by one, in batches of a size of its own."""
    return kind in plugins.kinds(World.room) and "batch" in plugins.settings(World.room, kind)


def load(name: str, overrides: Sequence[str] = ()) -> Config:
    """The config in a file, or the shipped config of that name, with `key=value` overrides applied.

    Raises: UserError naming every fault.
    """
    return parse(read(name), overrides)


def parse(data: Mapping[str, Any], overrides: Sequence[str] = ()) -> Config:
    """A config from what a YAML file says. Overrides are `dotted.key=value`, the value YAML.

    What a run wrote under `resolved` in its config.yaml is passed over, so that a run's config can be run again.

    Raises: UserError naming every fault.
    """
    changed = copy.deepcopy({key: value for key, value in data.items() if key != "resolved"})
    for override in overrides:
        _override(changed, override)
    try:
        config = Config.model_validate(changed)
    except ValidationError as error:
        found = [line for fault in error.errors() for line in _lines(fault)]
        raise UserError(f"{len(found)} fault{'s' * (len(found) > 1)} in the config:\n  " + "\n  ".join(found)) from None
    return config


def read(name: str) -> dict[str, Any]:
    """What the YAML of a config says, unchecked."""
    try:
        data = yaml.load(source(name), _Loader)
    except yaml.YAMLError as error:
        raise UserError(f"{name}: not YAML: {' '.join(str(error).split())}. Mend that line.") from None
    if not isinstance(data, dict):
        raise UserError(
            f"{name}: a config is a mapping of sections, this is {type(data).__name__}. `recbayes cp quickstart my.yaml` makes one."
        )
    return data


class _Loader(yaml.SafeLoader):
    """YAML in which 1e-3 is a number and a key given twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = Counter(key.value for key, _ in node.value)
        twice = [name for name, times in names.items() if times > 1]
        if twice:
            raise yaml.MarkedYAMLError(problem=f"key {twice[0]!r} stands twice in one mapping", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(?:\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789"))


def _override(data: dict[str, Any], override: str) -> None:
    """Sets one dotted key; list items go by their number; a section written as a bare name becomes a mapping."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise UserError(f"{override}: an override is key=value, such as train.epochs=3")
    try:
        value = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise UserError(f"{override}: the value is not YAML: {' '.join(str(error).split())}") from None
    place: Any = data
    *path, last = [int(part) if part.isdigit() else part for part in key.split(".")]
    for part, following in zip(path, [*path, last][1:], strict=True):
        inner = _item(place, part, override)
        if isinstance(inner, str) and isinstance(following, str):
            inner = {"kind": inner}
        elif inner is None:
            inner = {}
        place[part] = place = inner
    _item(place, last, override)
    place[last] = value


def _item(place: Any, part: str | int, override: str) -> Any:
    """What stands at one step of a dotted key, None if nothing does."""
    if isinstance(place, dict):
        return place.get(part)
    if isinstance(place, list) and isinstance(part, int) and part < len(place):
        return place[part]
    size = f"a list of {len(place)}: say which by its number, from 0" if isinstance(place, list) else f"{place!r}, which has no parts"
    raise UserError(f"{override}: {part} leads nowhere: it stands in {size}")


def _lines(fault: ErrorDetails) -> Iterator[str]:
    """One fault as pydantic tells it, as the lines of ours."""
    where = [part for part in fault["loc"] if not _is_branch(part)]
    if fault["type"] == "plugin":
        yield from (f"{_dotted([*where, key])}: {message}" for key, message in fault["ctx"]["faults"])
    elif fault["type"] == "extra_forbidden":
        yield f"{_dotted(where)}: unknown key. {plugins.nearest(str(where[-1]), _keys(where[:-1]))}"
    elif fault["type"] in ("model_type", "model_attributes_type"):
        yield f"{_dotted(where)}: should be a mapping of {', '.join(_keys(where))}, got {fault['input']!r}"
    elif fault["type"] == "missing":
        yield f"{_dotted(where)}: missing, and it has no default"
    elif fault["type"] == "value_error":
        yield f"{_dotted(where)}: {fault['ctx']['error']}"
    else:
        yield f"{_dotted(where)}: {fault['msg'].replace('Input should', 'should')}, got {fault['input']!r}"


def _is_branch(part: str | int) -> bool:
    """Whether a step of pydantic's path names a branch of a union, not a key."""
    return isinstance(part, str) and (
        part in {"Policy", "Learner", "str", "int"} or part.startswith(("literal[", "function-", "constrained-"))
    )


def _dotted(where: Sequence[str | int]) -> str:
    return ".".join(map(str, where)) or "config"


def _keys(where: Sequence[str | int]) -> list[str]:
    """The keys that a place in the config may have."""
    section: Any = Config
    for part in where:
        if isinstance(part, str):
            annotation = section.model_fields[part].annotation
            section = next(kind for kind in (annotation, *_inner(annotation)) if isinstance(kind, type) and issubclass(kind, Section))
    return list(section.model_fields)


def _inner(annotation: Any) -> Iterator[Any]:
    for inner in get_args(annotation):
        yield from (inner, *_inner(inner))
