"""What bench.py measures (rows.py), how contenders take turns (contest.py), what they must agree on
(checks.py), and how it is shown (table.py, picture.py). worker.py and worker_*.py run in
environments of their own and import none of these."""
