"""Two tasks: one counts the words of a file, the other adds such counts up."""

from pathlib import Path

from penstock import App, current_job

app = App()


@app.task
def count_words(path: str) -> int:
    """Return the number of words in a file."""
    return len(Path(path).read_text(encoding="utf-8").split())


@app.task
async def add_up(job_ids: list[str]) -> int:
    """Return the sum of the results of finished jobs."""
    counts = [await app.job(job_id).aresult() for job_id in job_ids]
    current_job().log(f"added up {len(counts)} counts")
    return sum(counts)
