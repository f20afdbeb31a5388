"""From a user's files, arrays and data frames to Examples; every one of them may be damaged or hostile."""
