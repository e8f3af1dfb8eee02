"""What agents say and hear: one pure machine for each protocol, which its worker process gives records and asks what to do.

What fits here: the records of an agent's protocol and what they mean. A machine touches no process, file or clock: it is given
records, messages and answers, and returns acts (`acts.py`). How a process is run does not fit here (see `crewd.worker.agent`).
"""
