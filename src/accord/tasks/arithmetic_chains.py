"""Is this worked solution right? Computed questions with several right and several wrong solutions of each.

The built-in ones are made by `scripts/make_arithmetic_chains.py`, from a fixed seed.
"""

from pathlib import Path

from accord.tasks import trivia
from accord.tasks.base import Definition

# All questions of the data start with 3 or more.
EXAMPLES = (  # question, a right solution, the solution that the validator is asked about
    (
        "Start with 2, add 5, multiply by 3, then subtract 4. What is the result?",
        "2 + 5 = 7. 7 * 3 = 21. 21 - 4 = 17. The result is 17.",
        "2 + 5 = 7. 7 * 3 = 21. 21 - 4 = 17. The result is 17.",
    ),
    (
        "Start with 1, multiply by 4, add 9, then add 6. What is the result?",
        "1 * 4 = 4. 4 + 9 = 13. 13 + 6 = 19. The result is 19.",
        "1 * 4 = 4. 4 + 9 = 12. 12 + 6 = 18. The result is 18.",
    ),
    (
        "Start with 2, multiply by 5, subtract 3, then multiply by 2. What is the result?",
        "2 * 5 = 10. 10 - 3 = 7. 7 * 2 = 14. The result is 14.",
        "2 * 5 = 10. 10 + 3 = 13. 13 * 2 = 26. The result is 26.",
    ),
    (
        "Start with 1, add 8, subtract 2, then multiply by 3. What is the result?",
        "1 + 8 = 9. 9 - 2 = 7. 7 * 3 = 21. The result is 21.",
        "1 + 8 = 9. 9 - 2 = 7. 7 * 3 = 21. The result is 21.",
    ),
)


DEFINITION = Definition(
    name="arithmetic-chains",
    asks="Is this worked solution of a computed question right?",
    needs="JSON lines with question, answer (a worked solution), correct (Yes/No) and strategy",
    generators={
        "question": "Question: {question}\nAnswer:",
        "solve": "{question} Here is the right solution, step by step:",
        "plain": "{question}",
    },
    negated={
        "question": "Question: {question}\nWrong answer:",
        "solve": "{question} Here is a wrong solution, step by step:",
        "plain": "Give a wrong answer. {question}",
    },
    validators={
        "correct": "Question: {question}\nSolution: {answer}\nIs this solution correct? Answer:",
        "think": "{question}\nProposed: {answer}\nDo you think that this is right? Answer:",
        "mistake-free": "{question}\n{answer}\nIs this computed without a mistake? Answer:",
    },
    generator_shots=[trivia.item(question, right, True) for question, right, _ in EXAMPLES],
    validator_shots=[trivia.item(question, other, other == right) for question, right, other in EXAMPLES],
    read=trivia.read,
    data=Path(__file__).parent / "data" / "arithmetic-chains.jsonl",
    answer_score="whole",
)
