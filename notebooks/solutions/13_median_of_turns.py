import statistics


def median_of_turns(functions, repeats, clock):
    """{name: function} -> {name: seconds}: the median of so many repeats, in turns, after one call each"""
    for function in functions.values():
        function()
    seconds = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            start = clock()
            function()
            seconds[name].append(clock() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}
