"""Other labelled data: it comes in with a target; related tasks are chosen, the backbone is finetuned on them, and the guard says
whether that helped.
"""
