"""The work of the studio: a queue of jobs, and what makes clips and objects of them. Knows no page."""
