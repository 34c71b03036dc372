"""stepcredit data webshop-generate: write a generated shop in the official format."""

from door import open_door

from trainer.commands.make_data import ShopConfig, check_folder

if __name__ == "__main__":
    open_door("data_webshop_generate", ShopConfig, check_folder, "trainer.commands.make_data:generate_shop")
