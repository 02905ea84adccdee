import math
import statistics

from course.studies import student_t


def paired_interval(values, reference):
    """{seed: accuracy} twice -> mean difference, and the two ends of its 95% interval"""
    gains = [values[seed] - reference[seed] for seed in values if seed in reference]
    mean, n = statistics.mean(gains), len(gains)
    half = student_t(n - 1) * statistics.stdev(gains) / math.sqrt(n)
    return mean, mean - half, mean + half
