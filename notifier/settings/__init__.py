"""What the settings of every part are made of, and how an error in them is explained."""
