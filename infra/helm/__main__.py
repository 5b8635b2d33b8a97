"""`python -m infra.helm`: Write the Helm chart from the base and components of infra/k8s."""

from __future__ import annotations

from infra.helm.chart import write_chart

if __name__ == "__main__":
    write_chart()
