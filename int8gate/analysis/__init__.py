"""What to do about a case that does not pass.

rungs.py    the recipes that may help, from the cheapest to the dearest
ladder.py   tries them one after another, each by the gates of its own

rescue(case_run, targets=("host_cpu",), budget_s=300) -> Ladder
"""
