"""Grading what students hand in: read, run, judge, report, in the order in which `grade.py` uses them.

    submissions.py   a folder or zip -> students, their notebooks, the cells of each exercise
    flags.py         what a person should look at: forbidden words in the code, equal code, changed checks
    labs.py          what counts in each lab of PLANS.md
    results.py       what becomes of an attempt, points by the check and by hand, limits
    hidden.py        other inputs than those of the notebook, for all exercises
    wire.py          tensors and numbers between two processes, as data alone
    layers.py        layers that hidden inputs need
    sandbox.py       the process in which a student's code runs, with its limits
    judge.py         the process that never runs a student's code, and decides
    report.py        CSV files, and a page for each student

Why two processes. What a student's code runs in can lie: it may replace `core.same`, read the answer out of
the check, or switch the watch off. So the check in the student's process says what is wrong, and only a
failure is believed at once. What passes there is run again in a fresh process without any answer, on hidden
inputs; its results come back as data, and the judge compares them with the answers. What an exercise forbids
(functions, operators) is refused there; loops and gradients are seen by the check alone.

This is no prison. An audit hook refuses the network, other programs, writing, and reading outside
the libraries; limits stop endless loops and large memory. That is enough for mistakes and for the usual
cheats. Whoever writes native code or knows Python's insides gets out of it. If you expect that, run the
command in a container without network and without anything worth stealing.
"""
