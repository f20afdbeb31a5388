"""Other labelled data: it comes in with a target; tasks that suit it are chosen, the backbone is finetuned on them, and the guard says
whether that helped.
"""
