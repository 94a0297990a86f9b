"""Jobs of a small device."""

from penstock import App

app = App()


@app.task(name="vision.detect")
def detect(frame: int) -> str:
    """Stand for a model on the GPU: one at a time, with memory set aside."""
    return f"frame {frame}: nothing"


@app.task(name="device.report")
async def report(text: str) -> int:
    """Stand for a message to a server."""
    return len(text)


if __name__ == "__main__":
    frames = [detect.enqueue(n) for n in range(2)]
    print(*(job.result(timeout=60) for job in frames), report.enqueue("ok").result(timeout=60))
