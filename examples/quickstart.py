"""A Gaussian mixture fitted to a NumPy array, as with scikit-learn.

Run it with ``python examples/quickstart.py``; it takes a second and starts no cluster.
"""

from __future__ import annotations

import numpy as np

from dask_em import GaussianMixture


def main() -> None:
    rng = np.random.default_rng(0)
    centres = np.array([[-4.0, 0.0], [0.0, 4.0], [4.0, 0.0]])
    rows = rng.normal(size=(30_000, 2)) + centres[rng.integers(0, 3, size=30_000)]

    mixture = GaussianMixture(n_components=3, random_state=0).fit(rows)
    for weight, mean in zip(mixture.weights_, mixture.means_, strict=True):
        print(f"weight {weight:.3f}  mean {np.round(mean, 2)}")
    print(f"{mixture.n_iter_} iterations, {mixture.score(rows):.4f} nats per row")
    print(f"labels of the first rows: {mixture.predict(rows[:8])}")

    # a weight of 3 counts a row three times, which changes no mean
    weighted = GaussianMixture(n_components=3, random_state=0)
    weighted.fit(rows, sample_weight=np.full(len(rows), 3.0))
    print(f"with weights: {weighted.score(rows):.4f} nats per row")


if __name__ == "__main__":
    main()
