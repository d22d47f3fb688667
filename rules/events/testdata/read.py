"""Prints what TensorBoard reads from the log in a folder, as JSON: scalars and histograms by tag."""
import json
import sys

from tensorboard.backend.event_processing import event_accumulator

log = event_accumulator.EventAccumulator(sys.argv[1], size_guidance={"scalars": 0, "histograms": 0})
log.Reload()
tags = log.Tags()
print(json.dumps({
    "Scalars": {t: [[e.step, e.value] for e in log.Scalars(t)] for t in tags["scalars"]},
    "Histograms": {t: [[e.step, e.histogram_value.num, e.histogram_value.min, e.histogram_value.max,
                        sum(e.histogram_value.bucket)] for e in log.Histograms(t)] for t in tags["histograms"]},
}))
