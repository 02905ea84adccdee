"""Every figure that the project draws."""

from matplotlib.figure import Figure


def plot_history(history):
    """-> Figure: loss, accuracy and learning rate of a `History`, epoch by epoch."""
    epochs = [record["epoch"] for record in history.epochs]
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    loss, accuracy, rate = figure.subplots(1, 3)
    # Solid and dashed, dark and light: told apart in grey as well.
    styles = {"train": ("#0072b2", "-", "o"), "validation": ("#d55e00", "--", "s")}
    for part, (colour, line, marker) in styles.items():
        if f"{part}_loss" not in history.epochs[0]:
            continue
        style = {"color": colour, "ls": line, "marker": marker, "markersize": 4, "label": part}
        style["markevery"] = max(1, len(epochs) // 20)
        loss.plot(epochs, [r[f"{part}_loss"] for r in history.epochs], **style)
        accuracy.plot(epochs, [100 * r[f"{part}_accuracy"] for r in history.epochs], **style)
    rate.plot(epochs, [r["learning_rate"] for r in history.epochs], color="#444444")
    rate.set_yscale("log")
    if "test" in history.results:
        value = 100 * history.results["test"]["accuracy"]
        accuracy.axhline(value, color="#444444", ls=":", label=f"test, at the end: {value:.2f}%")
    for axes, title in ((loss, "loss (nats)"), (accuracy, "accuracy (%)"), (rate, "learning rate")):
        axes.set(title=title, xlabel="epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
    loss.legend()
    accuracy.legend()
    seconds = sum(r["seconds"] for r in history.epochs)
    about = f"{history.dataset}, {history.train_size:,} pictures, {history.device}"
    figure.suptitle(f"{about}: {seconds:,.0f} s of training")
    return figure
