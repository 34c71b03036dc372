"""stepcredit data alfworld-generate: write generated households in the official format."""

from door import open_door

from trainer.commands.make_data import HouseholdsConfig, check_folder

if __name__ == "__main__":
    open_door(
        "data_alfworld_generate", HouseholdsConfig, check_folder, "trainer.commands.make_data:generate_households"
    )
