"""`fewtune transfer RUN...`: what runs share, how far apart they are, and which groups of weights carry what was learned."""
