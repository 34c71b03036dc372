"""stepcredit data alfworld: fetch ALFWorld's official games, or check those that are there."""

from door import open_door

from trainer.commands.make_data import ReleaseConfig, check_folder

if __name__ == "__main__":
    open_door("data_alfworld", ReleaseConfig, check_folder, "trainer.commands.make_data:fetch_alfworld")
