"""What a comparison found: rows, errors by draws, and what they are of."""

from __future__ import annotations

from typing import Any, NamedTuple

import pandas as pd

COLUMNS = (
    *("name", "kind", "log_likelihood_per_row", "coverage", "crps", "data_stddev", "model_stddev"),
    *("mean_distance", "stddev_ratio", "stddev_distance", "train_seconds", "train_ratio", "epoch_seconds", "epoch_ratio", "epochs"),
    *("inference_seconds", "inference_draws", "reason", "small_reason"),
)
FEW = ("log_likelihood_per_row", "coverage", "model_stddev", "mean_distance", "stddev_ratio", "train_ratio", "inference_seconds")
"""What a notebook shows."""


class Comparison(NamedTuple):
    """Posteriors side by side.

    rows: a record a posterior (docs/comparison.md says what each figure means); errors: by name, the records of `by_draws`; about:
    reference, problem and small.
    """

    rows: list[dict[str, Any]]
    errors: dict[str, list[dict[str, Any]]]
    about: dict[str, Any]

    @property
    def best(self) -> str | None:
        """The posterior of the best held-out log likelihood; None if none could be fitted."""
        fitted = [row for row in self.rows if row["reason"] is None]
        return max(fitted, key=lambda row: row["log_likelihood_per_row"])["name"] if fitted else None

    def finding(self) -> str:
        """What came out, in a sentence or two."""
        failed = [row["name"] for row in self.rows if row["reason"] is not None]
        without = f"; no figures of {', '.join(failed)}" if failed else ""
        if self.best is None:
            return f"no posterior could be fitted{without}"
        best = next(row for row in self.rows if row["name"] == self.best)
        figures = f"{best['log_likelihood_per_row']:.3f} nats a test row, 90% intervals hold {best['coverage']:.1%}"
        return f"{self.best} best: {figures}{without}"

    def to_json(self) -> dict[str, Any]:
        """comparison.json."""
        return {**self.about, "rows": self.rows, "error_by_draws": self.errors}

    def frame(self) -> pd.DataFrame:
        """comparison.parquet: a row a posterior, None where it has no such figure; a column `lift/POLICY` a replayed policy."""
        policies = sorted({policy for row in self.rows for policy in row.get("lift", {})})
        frame = pd.DataFrame([{column: row.get(column) for column in COLUMNS} for row in self.rows], columns=list(COLUMNS))
        for policy in policies:
            frame[f"lift/{policy}"] = [row.get("lift", {}).get(policy) for row in self.rows]
        texts = {column: "string" for column in ("name", "kind", "reason", "small_reason")}
        return frame.astype({column: texts.get(str(column), "float64") for column in frame})

    def _repr_html_(self) -> str:
        table: str = self.frame().set_index("name")[list(FEW)].round(4).to_html(na_rep="", border=0)
        return table
