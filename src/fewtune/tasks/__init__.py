"""Tasks, and episodes drawn from them: integers alone. `selection` says which tasks to finetune on."""
