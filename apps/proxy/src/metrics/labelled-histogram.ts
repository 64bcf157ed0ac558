import type { Metric, Registry } from 'prom-client';

/** A histogram with one label of known values. */
export interface HistogramDescription {
  readonly name: string;
  readonly help: string;
  readonly label: string;
  readonly values: readonly string[];
  /** Inclusive upper bounds, ascending; beyond the last is `+Inf`. */
  readonly bounds: readonly number[];
}

interface Series {
  readonly counts: Float64Array;
  sum: number;
}

/** One line of a metric as the registry prints it. */
interface Sample {
  readonly metricName: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** A histogram whose observations allocate nothing: no label objects, no hashing. */
export class LabelledHistogram {
  private readonly series = new Map<string, Series>();

  constructor(private readonly description: HistogramDescription) {
    for (const value of description.values) {
      this.series.set(value, { counts: new Float64Array(description.bounds.length + 1), sum: 0 });
    }
  }

  /** Adds one observation. @param value one of the label's known values; others are ignored */
  observe(value: string, observed: number): void {
    const series = this.series.get(value);
    if (series === undefined) return;
    const { bounds } = this.description;
    let bucket = 0;
    while (bucket < bounds.length && observed > bounds[bucket]!) bucket++;
    series.counts[bucket]!++;
    series.sum += observed;
  }

  /** Makes it part of what the registry prints. */
  registerIn(registry: Registry): void {
    const { name, help } = this.description;
    const get = async () => ({
      name,
      help,
      type: 'histogram',
      aggregator: 'sum',
      values: this.samples(),
    });
    // The registry asks a metric for its name and for `get()`; its own class brings label hashing.
    registry.registerMetric({ name, help, get } as unknown as Metric);
  }

  private samples(): Sample[] {
    const { name, label, bounds } = this.description;
    return [...this.series].flatMap(([value, { counts, sum }]) => {
      let count = 0;
      const buckets = [...counts].map((observed, bucket) => {
        count += observed;
        const le = String(bounds[bucket] ?? '+Inf');
        return { metricName: `${name}_bucket`, labels: { le, [label]: value }, value: count };
      });
      const labels = { [label]: value };
      return [
        ...buckets,
        { metricName: `${name}_sum`, labels, value: sum },
        { metricName: `${name}_count`, labels, value: count },
      ];
    });
  }
}
