"""Heavy and light tasks, with no word here of where they run."""

from penstock import App

app = App()


@app.task(name="clustering")
def clustering(genes: int) -> int:
    """Stand for a clustering that spikes above 3 GB."""
    return len(bytearray(genes * 1024))


@app.task(name="pubtator_update")
def pubtator_update() -> str:
    """Stand for a short update."""
    return "updated"


@app.task(name="backup_create", retries=5)
def backup_create() -> str:
    """Stand for a backup."""
    return "stored"


if __name__ == "__main__":
    heavy = clustering.enqueue(2_000)
    light = [pubtator_update.enqueue() for _ in range(30)]
    for job in [*light, backup_create.enqueue(), heavy]:
        job.result(timeout=60)
    queues = {job.record().queue for job in light}
    print(f"heavy: {heavy.record().queue}; light: {', '.join(queues)}")
