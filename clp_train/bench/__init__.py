"""The paper's tables and figures as data, and the queue that makes them: spec -> jobs -> queue -> scores -> write."""
