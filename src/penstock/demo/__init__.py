"""The main job on real input: real files analysed by real jobs, one of them killed on purpose.

`penstock demo` runs it (`stage.py`); `tasks.py` is an ordinary app that any worker can serve.
"""
