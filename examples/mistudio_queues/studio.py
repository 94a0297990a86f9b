"""Tasks of a studio: which queue each one goes to stands in penstock.toml."""

from penstock import App

app = App()


@app.task(name="studio.datasets.download")
def download(name: str) -> str:
    """Stand for a download that waits for the network."""
    return f"{name}.parquet"


@app.task(name="studio.training.train", soft_timeout=1800, timeout=3600)
def train(data: str, epochs: int = 3) -> str:
    """Stand for a training; its time limits are nearer to it than those of the file."""
    return f"{data} after {epochs} epochs"


@app.task(name="studio.extraction.extract")
def extract(model: str) -> int:
    """Stand for an extraction."""
    return len(model)


@app.task(name="studio.clean_up")
def clean_up() -> None:
    """No pattern but the last one matches its name."""


if __name__ == "__main__":
    jobs = [
        download.enqueue("faces"),
        train.enqueue("faces"),
        extract.enqueue("faces"),
        clean_up.enqueue(),
        train.using(queue="high_priority").enqueue("a small one"),
    ]
    for job in jobs:
        job.result(timeout=60)
